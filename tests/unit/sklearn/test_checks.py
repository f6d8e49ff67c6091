"""scikit-learn's own checks."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from airtrack.sklearn import (
    AirtrackLasso,
    AirtrackLinearSVC,
    AirtrackLogisticRegression,
    AirtrackRidge,
    LazyCCA,
    PrincipalComponentRegression,
    StreamingPCA,
)

ESTIMATORS = [
    AirtrackRidge(),
    AirtrackLasso(alpha=0.1),
    AirtrackLogisticRegression(),
    AirtrackLogisticRegression(multi_class="ovr"),
    AirtrackLinearSVC(),
    AirtrackLinearSVC(loss="hinge", tol=1e-12, max_iter=5000),  # decisions are compared to 1e-7
    AirtrackLinearSVC(loss="smoothed_hinge", regularise_intercept=False),
    StreamingPCA(n_components=1),
    StreamingPCA(n_components=1, solver="oja"),
    PrincipalComponentRegression(),
    LazyCCA(),
]


@pytest.mark.filterwarnings("ignore:sdca spent 5000 passes")  # of the hinge, where columns lie at 100 ± 1
@parametrize_with_checks(ESTIMATORS)
def test_check(estimator, check):
    check(estimator)
