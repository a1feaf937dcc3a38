"""What follows the rows of a collection in the background: indexes, words, EXIF, vectors of other versions.

Stored rows go in; the indexes of a snapshot and what stored rows lack come out. `indexes` opens indexes,
`index_upkeep` trains them, `reembed` embeds images again.
"""
