"""Pictures of arrays and results; the only room that imports matplotlib.

Here belongs everything that draws. Nothing here knows a model: functions take arrays, or the results of metrics.
"""

from keras_coda.visualization.audits import plot_distributions as plot_distributions
from keras_coda.visualization.audits import plot_mean_maps as plot_mean_maps
from keras_coda.visualization.colors import color_limit as color_limit
from keras_coda.visualization.colors import to_rgba as to_rgba
from keras_coda.visualization.figure import save_picture as save_picture
from keras_coda.visualization.maps import plot_contributions as plot_contributions
from keras_coda.visualization.maps import plot_linear_map as plot_linear_map
from keras_coda.visualization.metrics import plot_comparison as plot_comparison
from keras_coda.visualization.metrics import plot_localization as plot_localization
from keras_coda.visualization.metrics import plot_pixel_removal as plot_pixel_removal
from keras_coda.visualization.reliability import plot_reliability as plot_reliability
from keras_coda.visualization.studies import plot_temperatures as plot_temperatures
from keras_coda.visualization.studies import plot_trials as plot_trials
