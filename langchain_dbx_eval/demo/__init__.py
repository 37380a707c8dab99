"""The shipped demonstration: a handbook, questions about it, and a chain that answers them.

- `corpus`: the handbook and the questions.
- `retriever`: two retrievers over it, a first attempt and a better one.
- `answerer`: the answering model, which runs behind the driver server.
- `chain`: the two put together as a LangChain chain.
- `show`: runs it all, and shows what came out.
"""
