from diptych.adapters.prometheus import PrometheusMetrics
from diptych.core.types import DatabaseReport, IndexRecall
from unit.core.core_fakes import model_info


def test_scraper_sees_the_published_names() -> None:
    metrics = PrometheusMetrics()
    metrics.count_request("/embed", 200, 0.1)
    metrics.observe_stage("decode", 0.01)
    metrics.observe_batch("image", 4)
    metrics.add_queue_items("image", 4)
    metrics.add_queue_items("image", -1)
    metrics.count_rejected("decode_full")
    metrics.count_label_cache(2, 1)
    metrics.set_collection("default", 7)
    metrics.set_collection("large", 9, IndexRecall(0.996, 0.993, 1.0))
    metrics.set_models([model_info(), model_info(precision="int8")])
    metrics.set_active("fake", 2)
    metrics.set_rollout(9, 4)
    metrics.count_rollout("failed")
    metrics.set_rollback_lag(2)
    metrics.set_ready(True)
    body, content_type = metrics.render()
    lines = body.decode().splitlines()
    assert content_type.startswith("text/plain")
    for line in (
        'diptych_requests_total{code="200",route="/embed"} 1.0',
        'diptych_request_seconds_count{route="/embed"} 1.0',
        'diptych_stage_seconds_count{stage="decode"} 1.0',
        'diptych_batch_size_sum{encoder="image"} 4.0',
        'diptych_queue_items{encoder="image"} 3.0',
        'diptych_rejected_total{reason="decode_full"} 1.0',
        'diptych_label_cache_total{result="hit"} 2.0',
        'diptych_label_cache_total{result="miss"} 1.0',
        'diptych_collection_images{collection="default"} 7.0',
        'diptych_index_recall{collection="default"} 1.0',
        'diptych_index_recall{collection="large"} 0.993',
        'diptych_index_recall_by{collection="large",queries="names"} 0.996',
        'diptych_index_recall_by{collection="large",queries="nouns"} 0.993',
        'diptych_model_info{name="fake",precision="fp32",provider="none",version="1"} 1.0',
        'diptych_model_info{name="fake",precision="int8",provider="none",version="1"} 1.0',
        'diptych_rollout_state{name="fake",version="2"} 1.0',
        'diptych_rollout_images{state="total"} 9.0',
        'diptych_rollout_images{state="embedded"} 4.0',
        'diptych_rollouts_total{result="failed"} 1.0',
        'diptych_rollouts_total{result="active"} 0.0',
        "diptych_rollback_lag_images 2.0",
        "diptych_ready 1.0",
    ):
        assert line in lines


def test_dropped_collection_and_former_model_disappear() -> None:
    metrics = PrometheusMetrics()
    metrics.set_collection("gone", 1)
    metrics.set_collection("gone", None)
    metrics.set_models([model_info(version=1)])
    metrics.set_models([model_info(version=2)])
    metrics.set_active("former", 1)
    metrics.set_active("fake", 2)
    body = metrics.render()[0].decode()
    assert "gone" not in body
    assert 'version="1"' not in body
    assert 'diptych_rollout_state{name="fake",version="2"} 1.0' in body
    assert "former" not in body


def test_server_has_metrics_of_a_database_once_it_has_one() -> None:
    metrics = PrometheusMetrics()
    assert "diptych_database" not in metrics.render()[0].decode()
    metrics.set_database(DatabaseReport(6, 2, 1, True, 41, 3, 2))
    metrics.set_database(DatabaseReport(5, 0, 3, False, 42, None, None))
    lines = metrics.render()[0].decode().splitlines()
    for line in (
        'diptych_database_connections{state="open"} 5.0',
        'diptych_database_connections{state="in_use"} 0.0',
        "diptych_database_available 0.0",
        "diptych_database_outages_total 3.0",
        "diptych_database_write 42.0",
        "diptych_database_writes_behind 3.0",
        "diptych_database_servers 2.0",
    ):
        assert line in lines
