"""scikit-learn's own checks."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from airtrack.sklearn import AirtrackLasso, AirtrackLinearSVC, AirtrackLogisticRegression, AirtrackRidge

ESTIMATORS = [
    AirtrackRidge(),
    AirtrackLasso(alpha=0.1),
    AirtrackLogisticRegression(),
    AirtrackLogisticRegression(multi_class="ovr"),
    AirtrackLinearSVC(),
]


@parametrize_with_checks(ESTIMATORS)
def test_check(estimator, check):
    check(estimator)
