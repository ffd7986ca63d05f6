"""The official clients against a gateway: `clients.py URL`. Every model says its own name for ever.

Each function is a test. They run in order; the first that fails ends the run.
"""

import sys
import time

import anthropic
import openai

URL = sys.argv[1]
HI = [{"role": "user", "content": "hi"}]

oai = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=60)
ant = anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0, timeout=60)


def openai_lists_the_models():
    models = {model.id for model in oai.models.list()}
    assert {"alpha", "beta", "gpt-4o-mini"} <= models, models
    assert oai.models.retrieve("alpha").id == "alpha"


def openai_chats():
    for model, word in [("alpha", "alpha"), ("gpt-4o-mini", "alpha"), ("beta", "beta")]:
        answer = oai.chat.completions.create(model=model, messages=HI, max_tokens=4)
        assert word in answer.choices[0].message.content, answer
        assert answer.usage.completion_tokens == 4, answer


def openai_chats_in_a_stream():
    stream = oai.chat.completions.create(
        model="alpha",
        messages=HI,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said.count("alpha") >= 6, said
    assert chunks[-1].usage.completion_tokens == 8, chunks[-1]


def openai_completes():
    answer = oai.completions.create(model="alpha", prompt="hi", max_tokens=4)
    assert "alpha" in answer.choices[0].text, answer


def openai_responds():
    answer = oai.responses.create(model="alpha", input="hi", max_output_tokens=16)
    assert "alpha" in answer.output_text, answer
    # Not `responses.stream`: llama-server's events lack the index that it adds them up by.
    stream = oai.responses.create(
        model="alpha", input="hi", max_output_tokens=16, stream=True
    )
    said = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
    assert "alpha" in said, said


def openai_embeds():
    answer = oai.embeddings.create(model="vector", input=["a", "b"], encoding_format="float")
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 1, answer


def openai_understands_refusals():
    try:
        oai.chat.completions.create(model="alhpa", messages=HI)
    except openai.NotFoundError as error:
        assert error.code == "no-such-model", error.body
        assert "alpha" in error.message, error.message
        assert error.request_id, error.response.headers
    else:
        raise AssertionError("a model that does not exist answered")


def anthropic_messages():
    answer = ant.messages.create(model="alpha", messages=HI, max_tokens=4)
    assert "alpha" in answer.content[0].text, answer
    assert answer.usage.output_tokens == 4, answer


def anthropic_messages_in_a_stream():
    with ant.messages.stream(model="beta", messages=HI, max_tokens=8) as stream:
        said = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert said.count("beta") >= 6, said
    assert last.usage.output_tokens == 8, last


def anthropic_counts_tokens():
    assert ant.messages.count_tokens(model="alpha", messages=HI).input_tokens > 0


def anthropic_understands_refusals():
    try:
        ant.messages.create(model="alhpa", messages=HI, max_tokens=4)
    except anthropic.NotFoundError as error:
        assert error.body["error"]["type"] == "not_found_error", error.body
    else:
        raise AssertionError("a model that does not exist answered")


def a_model_that_sleeps_is_woken_by_a_stream():
    stream = oai.chat.completions.create(
        model="sleeper", messages=HI, max_tokens=4, stream=True
    )
    said = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert "sleeper" in said, said


TESTS = [
    openai_lists_the_models,
    openai_chats,
    openai_chats_in_a_stream,
    openai_completes,
    openai_responds,
    openai_embeds,
    openai_understands_refusals,
    anthropic_messages,
    anthropic_messages_in_a_stream,
    anthropic_counts_tokens,
    anthropic_understands_refusals,
    a_model_that_sleeps_is_woken_by_a_stream,
]

if __name__ == "__main__":
    print(f"openai {openai.__version__}, anthropic {anthropic.__version__}", flush=True)
    for test in TESTS:
        began = time.monotonic()
        test()
        print(f"{test.__name__}: {(time.monotonic() - began) * 1000:.0f} ms", flush=True)
