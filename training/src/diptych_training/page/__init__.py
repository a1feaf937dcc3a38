"""Reports as one HTML file that needs nothing else: no script, nothing loaded from elsewhere.

In: sections as HTML. Out: a page. `document` has the frame, `text` makes texts of users safe, `thumbnail`
puts pictures into the page.
"""
