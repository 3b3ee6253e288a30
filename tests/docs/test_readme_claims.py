"""The README's list of features: which tests verify each of its claims."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
README = (TESTS.parent / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Features\n")[2].partition("\n```")[0]
BULLETS = dict(re.findall(r"^- \*\*(.+?)\*\*: (.+?)\s*(?=^- |\Z)", SECTION, re.DOTALL | re.MULTILINE))

# By feature, each claim in the README's own words, and what shows it: ``file::function``. Claims about types are shown
# by what type checkers read, and those about speed by what is measured; neither is run by pytest.
FEATURES: dict[str, dict[str, list[str]]] = {
    "The whole API": {
        "both clients offer every operation,": [
            "resources/test_reference_page.py::test_every_operation_is_on_the_page",
            "resources/test_reference_page.py::test_examples",
            "resources/test_reference_page.py::test_examples_awaited",
            "http_layer/test_wire_parity.py::test_every_operation_has_a_case",
            "http_layer/test_wire_parity.py::test_same_request",
        ],
        "with the same names and types.": [
            "codegen/test_codegen.py::test_every_class_has_a_complete_twin",
            "codegen/test_codegen.py::test_every_member_is_the_same_in_the_twin",
            "codegen/test_codegen.py::test_the_constructors_are_the_same",
        ],
        "List pages are fetched while you iterate.": [
            "predictions/test_run.py::test_all_pages_lazily",
            "test_blocking.py::test_pages",
            "test_blocking.py::test_stopping_early_fetches_no_more",
        ],
    },
    "Thousands of predictions at once": {
        "`asyncio.gather` works with any number of runs, because all pending predictions are polled together.": [
            "predictions/test_polling.py::test_many_jobs_are_polled_by_the_list",
            "predictions/test_polling.py::test_every_caller_gets_its_result_whatever_happens",
            "../benchmarks/fanout.py::benchmarks",
        ],
        "Creates stay within the rate limit, which the client learns from the API's responses and shares with other "
        "programs of the account.": [
            "http_layer/test_ratelimit.py::test_creates_under_the_documented_limits",
            "http_layer/test_ratelimit.py::test_a_bucket_learns_the_rate_of_the_api",
            "http_layer/test_limits_in_situations.py::test_processes_that_share_an_account",
        ],
        "`map` reads each input only when it can start its prediction.": [
            "predictions/test_map.py::test_infinite_inputs_are_read_as_needed",
        ],
        "See [many predictions](docs/fan-out.md),": ["docs/test_readme.py::test_many_predictions"],
        "and [many machines](docs/distributed.md) for Dask and Ray.": [
            "integration/test_distributed.py::test_the_pages_example"
        ],
    },
    "Safe retries": {
        "reads are retried after transient failures,": [
            "http_layer/test_retry.py::test_idempotent_calls_are_repeated",
            "http_layer/test_retry.py::test_refused_calls_are_repeated",
            "http_layer/test_retry.py::test_final_errors_are_not_repeated",
        ],
        "with exponential backoff and jitter.": ["http_layer/test_retry.py::test_delays_grow_and_differ"],
        "When the response to a create is lost, the client looks for the prediction before it creates another one, "
        "so that nothing is billed twice ([details](docs/fan-out.md#nothing-billed-twice)).": [
            "predictions/test_creates.py::test_lost_results_are_adopted",
            "predictions/test_creates.py::test_creates_that_were_not_carried_out_are_repeated",
            "predictions/test_creates.py::test_a_fifth_of_the_creates_is_lost",
            "http_layer/test_retry.py::test_only_idempotent_calls_are_repeated_after_an_unknown_outcome",
            "http_layer/test_retry.py::test_no_create_is_repeated_after_an_unknown_outcome",
            "http_layer/test_retry.py::test_calls_that_were_not_sent_are_repeated",
            "http_layer/test_retry.py::test_a_create_that_may_have_been_billed_is_not_repeated",
            "http_layer/test_retry.py::test_a_policy_can_not_repeat_creates_with_an_unknown_outcome",
            "http_layer/test_transport.py::test_a_create_on_a_connection_that_closes_is_not_sent_twice",
        ],
        "With a [journal](docs/journal.md), this also holds if the process is killed,": [
            "predictions/test_journal_kills.py::test_killed_at_random_moments",
            "predictions/test_journal.py::test_a_lost_create",
        ],
        "or a task of Celery, Dask or Ray is repeated.": [
            "predictions/test_journal.py::test_a_key_is_paid_for_once",
            "integration/test_distributed.py::test_a_retried_task_is_billed_once",
        ],
        "The client waits as long as the server asks for,": ["http_layer/test_retry.py::test_retry_after_is_respected"],
        "up to five minutes.": ["http_layer/test_retry.py::test_a_too_long_retry_after_is_raised"],
    },
    "Cancellation": {
        "a prediction is canceled when the task that waits in `run`, `stream`, or a model function is canceled,": [
            "predictions/test_run.py::test_a_cancelled_task_cancels_the_prediction",
            "predictions/test_run.py::test_every_way_to_stop_waiting",
            "predictions/test_streaming.py::test_leaving",
            "predictions/test_functions.py::test_leaving_a_call",
        ],
        "when its time limit passes,": [
            "predictions/test_run.py::test_a_time_limit_cancels_the_prediction",
            "test_blocking.py::test_a_time_limit_cancels_the_prediction",
        ],
        "when you press Ctrl-C,": [
            "test_blocking.py::test_ctrl_c_cancels_the_prediction",
            "test_blocking.py::test_ctrl_c_ends_a_program",
            "predictions/test_streaming.py::test_ctrl_c",
            "cli/test_commands.py::test_ctrl_c_cancels_the_prediction",
        ],
        "or when its client is closed.": [
            "predictions/test_cancels.py::test_gathered_runs_are_canceled_although_their_client_closes",
            "predictions/test_cancels.py::test_a_client_that_is_closed_elsewhere",
        ],
        "If the API is busy, the client keeps trying in the background,": [
            "predictions/test_cancels.py::test_cancellations_are_tried_on"
        ],
        "and the program waits a few seconds for it before it exits.": [
            "predictions/test_cancels.py::test_a_program_that_ends_while_the_api_refuses",
            "test_storm.py::test_nothing_runs_on",
        ],
    },
    "Any event loop": {
        "you can create an `AsyncReplicate` at import time,": [
            "integration/test_loops.py::test_uvloop",
            "http_layer/test_transport.py::test_clients_cost_little",
            "http_layer/test_transport.py::test_loops_end_silently",
        ],
        "and use it under several event loops, in turn or at once.": [
            "http_layer/test_transport.py::test_one_client_in_three_loops",
            "http_layer/test_transport.py::test_one_client_in_two_threads_at_once",
        ],
        "Blocking calls from all threads share one background loop.": [
            "test_blocking.py::test_sixty_four_threads",
            "test_blocking.py::test_clients_share_one_background_loop",
        ],
    },
    "Your token stays private": {
        "it is sent to the API's host and nowhere else,": [
            "http_layer/test_transport.py::test_a_redirect_elsewhere_gets_no_token",
            "http_layer/test_transport.py::test_nothing_but_get_is_redirected",
            "http_layer/test_transport.py::test_an_absolute_url_elsewhere_gets_no_token",
            "http_layer/test_transport.py::test_urls_that_only_look_like_the_api",
            "http_layer/test_transport.py::test_a_next_page_elsewhere_gets_nothing_of_the_call",
            "resources/test_views.py::test_elsewhere_gets_no_token",
            "predictions/test_outputs.py::test_the_token_stays_with_the_api",
            "predictions/test_streaming.py::test_no_token_at_the_streams_origin",
        ],
        "and it appears in no log, repr, error, or traceback.": [
            "http_layer/test_transport.py::test_the_token_is_in_no_log",
            "http_layer/test_transport.py::test_the_token_is_in_no_repr",
            "http_layer/test_transport.py::test_the_token_is_in_no_error",
            "http_layer/test_transport.py::test_the_token_is_in_no_blocking_error",
            "http_layer/test_transport.py::test_an_invalid_token_in_the_environment_is_in_no_traceback",
        ],
    },
    "Typed": {
        "annotations pass mypy and pyright in strict mode, down to `with_raw_response`.": [
            "typing/async_usage.py::raw_access",
            "typing/blocking_usage.py::raw_access",
            "typing/functions.py::asynchronous",
            "typing/misuse.py::asynchronous",
        ],
        "Responses are plain structs that you can pickle, compare,": [
            "test_types.py::test_every_documented_field_is_typed",
            "test_types.py::test_structs_compare_copy_and_pickle",
        ],
        "and use as FastAPI and pydantic types.": [
            "test_pydantic.py::test_every_struct",
            "test_pydantic.py::test_results",
            "test_pydantic.py::test_bodies",
            "test_pydantic.py::test_an_application",
        ],
    },
    "Clear errors": {
        "invalid arguments raise an error before anything is sent.": [
            "predictions/test_run.py::test_bad_arguments_send_nothing",
            "resources/test_resources.py::test_invalid_argument",
            "resources/test_resources.py::test_invalid_path_argument",
            "resources/test_views.py::test_invalid_arguments_raise_as_usual",
            "predictions/test_functions.py::test_all_problems_at_once",
        ],
        "API errors include the API's own message.": [
            "http_layer/test_requests_and_responses.py::test_a_problem_document",
            "predictions/test_run.py::test_inputs_that_the_model_refuses",
            "predictions/test_run.py::test_a_failed_prediction",
        ],
    },
    "Fast": {
        "see the [benchmarks](benchmarks/README.md).": ["../benchmarks/calls.py::benchmarks"],
        "`import replicate_async` loads nothing that it doesn't need.": [
            "http_layer/test_transport.py::test_importing_costs_nothing",
            "test_webhooks.py::test_nothing_else_is_needed",
        ],
    },
    "Testable offline": {
        "`replicate_async.testing.LocalServer` serves the Replicate API on your machine,": [
            "testing/test_protocol.py::test_the_table",
            "testing/test_official_sdk.py::test_every_operation_has_a_test_here",
        ],
        "with Python functions as models.": [
            "testing/test_schema.py::test_inputs",
            "testing/test_predictions.py::test_failures",
            "docs/test_readme.py::test_the_local_server",
        ],
        "It comes with pytest fixtures, fault injection, virtual time, and recordings of the real API.": [
            "testing/test_plugin.py::test_the_three_fixtures",
            "testing/test_plugin.py::test_markers",
            "testing/test_client_clock.py::test_a_job_of_ten_minutes",
            "testing/test_recording.py::test_there_and_back",
        ],
        "See [testing your application](docs/testing.md).": ["testing/test_docs_testing.py::test_examples"],
    },
}


@cache
def functions(file: str) -> frozenset[str]:
    """Return the names of a module's functions, without importing it."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_every_feature_is_here() -> None:
    """The table above has the README's features, in its order, and no others."""
    assert list(FEATURES) == list(BULLETS)
    assert len(BULLETS) == SECTION.count("\n- ")


@pytest.mark.parametrize("feature", FEATURES)
def test_every_claim_is_here(feature: str) -> None:
    """The table has every word that the README says about a feature, so that no claim is added or changed alone."""
    assert " ".join(FEATURES[feature]) == " ".join(BULLETS[feature].split())


@pytest.mark.parametrize(("feature", "claim"), [(name, claim) for name, claims in FEATURES.items() for claim in claims])
def test_every_claim_is_verified(feature: str, claim: str) -> None:
    """Each claim has a test, and each test that is named exists."""
    assert FEATURES[feature][claim]
    for place in FEATURES[feature][claim]:
        file, _, function = place.partition("::")
        assert function in functions(file), place
        assert function.startswith("test_") or file.startswith(("typing/", "../benchmarks/")), place
