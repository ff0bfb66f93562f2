"""SciPy and scikit-learn with Treadle's arrays, where their functions are written for any namespace.

In a process of its own, since SciPy reads SCIPY_ARRAY_API when it is imported. Skipped where the extra
`interop` is not installed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

SCIPY = """
import numpy as np, treadle as td
from scipy import fft, integrate, ndimage, optimize, signal, special, stats

X, Y = np.linspace(0.1, 3, 12).reshape(3, 4), np.linspace(1, 2, 12).reshape(3, 4)
calls = {
    "logsumexp": lambda x, y: special.logsumexp(x, axis=1),
    "softmax": lambda x, y: special.softmax(x, axis=1),
    "expit": lambda x, y: special.expit(x),
    "xlogy": lambda x, y: special.xlogy(x, y),
    "zscore": lambda x, y: stats.zscore(x),
    "skew": lambda x, y: stats.skew(x),
    "kurtosis": lambda x, y: stats.kurtosis(x),
    "gmean": lambda x, y: stats.gmean(x),
    "entropy": lambda x, y: stats.entropy(x),
    "ttest_1samp": lambda x, y: stats.ttest_1samp(x, 1.0).statistic,
    "trapezoid": lambda x, y: integrate.trapezoid(x),
    "rosen": lambda x, y: optimize.rosen(x[0]),
    "fft": lambda x, y: fft.fft(x),
    "detrend": lambda x, y: signal.detrend(x),
    "uniform_filter": lambda x, y: ndimage.uniform_filter(x),
}
"""
SKLEARN = """
import numpy as np, treadle as td, sklearn
from sklearn import metrics, preprocessing

sklearn.set_config(array_api_dispatch=True)
X, Y = np.linspace(0.1, 3, 12).reshape(3, 4), np.linspace(1, 2, 12).reshape(3, 4)
calls = {
    "accuracy_score": lambda x, y: metrics.accuracy_score(x[0] > 0.5, y[0] > 1.1),
    "mean_squared_error": lambda x, y: metrics.mean_squared_error(x, y),
    "r2_score": lambda x, y: metrics.r2_score(x, y),
    "cosine_similarity": lambda x, y: metrics.pairwise.cosine_similarity(x, y),
    "rbf_kernel": lambda x, y: metrics.pairwise.rbf_kernel(x, y),
    "MinMaxScaler": lambda x, y: preprocessing.MinMaxScaler().fit_transform(x),
    "StandardScaler": lambda x, y: preprocessing.StandardScaler().fit_transform(x),
    "Normalizer": lambda x, y: preprocessing.Normalizer().fit_transform(x),
}
"""
CHECK = """
for name, call in calls.items():
    found, expected = call(td.asarray(X), td.asarray(Y)), call(X, Y)
    assert np.ndim(expected) == 0 or isinstance(found, td.Array), (name, type(found))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-9, atol=1e-12, err_msg=name)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("library", "program"), [("scipy", SCIPY), ("sklearn", SKLEARN)])
def test_functions_for_any_namespace_take_our_arrays(library: str, program: str):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed; the extra interop brings it")
    environment = dict(os.environ, SCIPY_ARRAY_API="1")
    subprocess.run([sys.executable, "-W", "ignore", "-c", program + CHECK], check=True, env=environment)
