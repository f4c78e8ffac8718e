import jobs
import pytest

from gmeta_tf.cli.main import main


def test_sound_data_is_told(tiny, capsys):
    main(["validate", str(tiny)])
    assert capsys.readouterr().out == f"{tiny}: 24 files, 37 tasks, 310 samples, 0 problems\n"


def test_problems_end_with_code_1(tmp_path, capsys):
    folder = jobs.tiny_data(tmp_path)
    file = folder / "train" / "query-00000-of-00004.tfrecord"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(SystemExit, match="1"):
        main(["validate", str(folder)])
    assert (
        "WRONG: train/query-00000-of-00004.tfrecord must have the checksum of its manifest"
        in capsys.readouterr().out
    )


def test_no_data_is_told_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["validate", str(tmp_path)])
    assert capsys.readouterr().err.startswith(
        "gmeta validate: data must be a folder that preparation completed. Received: "
    )
