"""What scikit-learn's own grid search finds: a line for each point, then the best parameters and the held-out score."""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.svm import SVC

pixels, digits = load_digits(return_X_y=True)
train, test, train_digits, test_digits = train_test_split(
    pixels, digits, test_size=0.25, random_state=0, stratify=digits
)
grid = {"C": [0.1, 1.0, 10.0, 100.0], "gamma": [0.0001, 0.0005, 0.001, 0.005]}
search = GridSearchCV(SVC(), grid, cv=5).fit(train, train_digits)

results = search.cv_results_
for mean, deviation in zip(results["mean_test_score"], results["std_test_score"], strict=True):
    print(f"{mean:.4f} {deviation:.4f}")
best = search.best_params_
print(f"best: C = {best['C']}, gamma = {best['gamma']}, accuracy {search.best_score_:.4f}")
print(f"held out: accuracy {search.score(test, test_digits):.4f}")
