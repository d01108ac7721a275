"""MLflow models that predict and explain: logged, loaded and served with MLflow's own tools.

Here belongs what writes and reads models in MLflow's format. Clients of other servers belong to `keras_coda.serving`.
"""

from keras_coda.mlflow.logging import load_model as load_model
from keras_coda.mlflow.logging import log_model as log_model
from keras_coda.mlflow.logging import save_model as save_model
