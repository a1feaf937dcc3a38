"""The request and response shapes of other products, over the same use cases as `embed` and `classify`.

`openai` has `/v1`, `openai_request` what clients of OpenAI, infinity, Jina and vLLM send there; `huggingface`
has the task protocol under `/hf`. `items` turns their strings into texts and images: read it first.
"""
