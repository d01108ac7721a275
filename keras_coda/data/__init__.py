"""Images with labels, image files and videos: everything between disks and arrays.

Here belongs code that reads and writes images. Explanations of them belong to `keras_coda.explanations`.
"""

from keras_coda.data.augmenting import AUGMENTATIONS as AUGMENTATIONS
from keras_coda.data.augmenting import augmentation as augmentation
from keras_coda.data.digits import Collages as Collages
from keras_coda.data.digits import all_digits as all_digits
from keras_coda.data.digits import digit_collages as digit_collages
from keras_coda.data.images import read_image as read_image
from keras_coda.data.load import CHARACTERS as CHARACTERS
from keras_coda.data.load import Data as Data
from keras_coda.data.load import load as load
from keras_coda.data.photos import sample_photos as sample_photos
from keras_coda.data.preparation import Preparation as Preparation
from keras_coda.utils.errors import ImagesLeftOutWarning as ImagesLeftOutWarning
from keras_coda.utils.errors import UnreadableImageError as UnreadableImageError
