"""Other systems' names and what to write instead: one table for error messages and for docs/coming-from.md.

There is no second spelling of the same thing: no name in the table is ours. Knows nothing of the rest of
Treadle; whoever raises the error hands our names in.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple


class Foreign(NamedTuple):
    """One name of other systems. `write` completes the sentence "for PyTorch's `cat` write ..."."""

    where: str
    name: str
    systems: str
    write: str


# What is written, space-separated where one answer serves several; the systems; what to write instead.
MODULE = (
    # making arrays
    ("tensor as_tensor", "PyTorch", "`td.asarray`"),
    ("from_numpy", "PyTorch", "`td.asarray`; `copy=False` borrows the memory"),
    ("array", "NumPy, JAX", "`td.asarray`"),
    ("asanyarray ascontiguousarray", "NumPy", "`td.asarray`"),
    ("copy", "NumPy, JAX", "`td.asarray(x, copy=True)`"),
    ("clone", "PyTorch", "`td.asarray(x, copy=True)`"),
    ("constant convert_to_tensor", "TensorFlow", "`td.asarray`"),
    ("fill", "TensorFlow", "`td.full`"),
    ("range", "TensorFlow", "`td.arange`"),
    ("identity", "NumPy, JAX", "`td.eye` for a matrix, and `x` itself for an array"),
    ("diag", "NumPy, PyTorch, JAX", '`td.einsum("ii->i", x)`, or `td.eye(n) * x` to build a matrix'),
    ("Tensor", "PyTorch, TensorFlow", "`td.Array` for the type, `td.asarray` to make one"),
    ("ndarray", "NumPy, JAX", "`td.Array` for the type, `td.asarray` to make one"),
    ("is_tensor", "PyTorch, TensorFlow", "`isinstance(x, td.Array)`"),
    # shapes
    ("cat", "PyTorch", "`td.concat`"),
    ("concatenate", "NumPy, PyTorch, JAX", "`td.concat`"),
    ("hstack", "NumPy, PyTorch, JAX", "`td.concat(arrays, axis=1)`"),
    ("vstack", "NumPy, PyTorch, JAX", "`td.concat(arrays, axis=0)`"),
    ("dstack", "NumPy, PyTorch, JAX", "`td.concat(arrays, axis=2)`"),
    ("column_stack", "NumPy, PyTorch, JAX", "`td.stack(arrays, axis=1)`"),
    ("split", "NumPy, PyTorch, TensorFlow, JAX", "slices: `x[:k]`, `x[k:]`"),
    ("array_split", "NumPy, JAX", "slices: `x[:k]`, `x[k:]`"),
    ("chunk", "PyTorch", "slices: `x[:k]`, `x[k:]`"),
    ("unbind", "PyTorch", "`td.unstack`"),
    ("unsqueeze", "PyTorch", "`td.expand_dims`"),
    (
        "transpose",
        "NumPy, PyTorch, TensorFlow, JAX",
        "`td.permute_dims`; the last two axes: `td.matrix_transpose`",
    ),
    ("t", "PyTorch", "`td.matrix_transpose`"),
    ("permute", "PyTorch", "`td.permute_dims`"),
    ("swapaxes", "NumPy, PyTorch, JAX", "`td.permute_dims`; the last two axes: `td.matrix_transpose`"),
    ("swapdims", "PyTorch", "`td.permute_dims`; the last two axes: `td.matrix_transpose`"),
    ("movedim", "PyTorch", "`td.moveaxis`"),
    ("rollaxis", "NumPy", "`td.moveaxis`"),
    ("ravel", "NumPy, PyTorch, JAX", "`td.reshape(x, (-1,))`"),
    ("flatten", "PyTorch", "`td.reshape(x, (-1,))`; the batch stays with `(x.shape[0], -1)`"),
    ("fliplr", "NumPy, PyTorch, JAX", "`td.flip(x, axis=1)`"),
    ("flipud", "NumPy, PyTorch, JAX", "`td.flip(x, axis=0)`"),
    ("reverse", "TensorFlow", "`td.flip`"),
    ("rot90", "NumPy, PyTorch, JAX", "`td.flip(td.matrix_transpose(x), axis=-2)`"),
    ("repeat_interleave", "PyTorch", "`td.repeat`"),
    ("narrow", "PyTorch", "a slice: `x[start : start + length]`"),
    ("atleast_1d", "NumPy, PyTorch, JAX", "`td.reshape(x, (-1,))` where `x.ndim == 0`"),
    ("numel", "PyTorch", "`x.size`"),
    ("shape", "NumPy, TensorFlow, JAX", "`x.shape`"),
    ("ndim", "NumPy, JAX", "`x.ndim`"),
    ("rank", "TensorFlow", "`x.ndim`"),
    ("size", "NumPy, TensorFlow, JAX", "`x.size`"),
    # dtypes
    ("cast", "TensorFlow", "`td.astype`"),
    ("promote_types", "NumPy, PyTorch, JAX", "`td.result_type`"),
    ("float", "PyTorch", "`td.float32`"),
    ("double", "NumPy, PyTorch", "`td.float64`"),
    ("half", "NumPy, PyTorch, TensorFlow", "`td.float16`"),
    ("single", "NumPy", "`td.float32`"),
    ("short", "NumPy, PyTorch", "`td.int16`"),
    ("int", "PyTorch", "`td.int32`"),
    ("long", "NumPy, PyTorch", "`td.int64`"),
    ("cfloat", "PyTorch", "`td.complex64`"),
    ("cdouble", "NumPy, PyTorch", "`td.complex128`"),
    ("bool_", "NumPy, JAX", "`td.bool`"),
    ("FloatTensor", "PyTorch", "`td.asarray(data, dtype=td.float32)`"),
    ("LongTensor", "PyTorch", "`td.asarray(data, dtype=td.int64)`"),
    # arithmetic
    ("absolute", "NumPy, PyTorch, JAX", "`td.abs`"),
    ("fabs", "NumPy, JAX", "`td.abs`"),
    ("neg", "PyTorch", "`td.negative`"),
    ("mul", "PyTorch", "`td.multiply`"),
    ("sub", "PyTorch", "`td.subtract`"),
    ("div", "PyTorch", "`td.divide`"),
    ("truediv", "TensorFlow", "`td.divide`"),
    ("true_divide", "NumPy, PyTorch, JAX", "`td.divide`"),
    ("floordiv", "TensorFlow", "`td.floor_divide`"),
    ("mod", "NumPy, JAX", "`td.remainder`"),
    ("floormod", "TensorFlow", "`td.remainder`"),
    ("fmod", "NumPy, PyTorch, JAX", "`x - td.trunc(x / y) * y`"),
    ("power", "NumPy, JAX", "`td.pow`"),
    ("float_power", "NumPy, PyTorch, JAX", "`td.pow`"),
    ("rsqrt", "PyTorch, TensorFlow, JAX", "`1 / td.sqrt(x)`"),
    ("exp2", "NumPy, PyTorch, JAX", "`td.pow(2.0, x)`"),
    ("clamp", "PyTorch", "`td.clip`"),
    ("clip_by_value", "TensorFlow", "`td.clip`"),
    ("rint", "NumPy, TensorFlow, JAX", "`td.round`"),
    ("fix", "NumPy, PyTorch, JAX", "`td.trunc`"),
    ("sgn", "PyTorch", "`td.sign`"),
    ("conjugate", "NumPy, JAX", "`td.conj`"),
    ("fmax", "NumPy, PyTorch, JAX", "`td.maximum`, which lets NaN through"),
    ("fmin", "NumPy, PyTorch, JAX", "`td.minimum`, which lets NaN through"),
    ("lerp", "PyTorch", "`x + weight * (y - x)`"),
    ("addcmul", "PyTorch", "`x + value * a * b`"),
    ("squared_difference", "TensorFlow", "`td.square(x - y)`"),
    ("deg2rad", "NumPy, PyTorch, JAX", "`x * (td.pi / 180)`"),
    ("rad2deg", "NumPy, PyTorch, JAX", "`x * (180 / td.pi)`"),
    ("nan_to_num", "NumPy, PyTorch, JAX", "`td.where(td.isnan(x), 0, x)`"),
    ("arcsin", "NumPy, PyTorch, JAX", "`td.asin`"),
    ("arccos", "NumPy, PyTorch, JAX", "`td.acos`"),
    ("arctan", "NumPy, PyTorch, JAX", "`td.atan`"),
    ("arctan2", "NumPy, PyTorch, JAX", "`td.atan2`"),
    ("arcsinh", "NumPy, PyTorch, JAX", "`td.asinh`"),
    ("arccosh", "NumPy, PyTorch, JAX", "`td.acosh`"),
    ("arctanh", "NumPy, PyTorch, JAX", "`td.atanh`"),
    # comparison, logic and bits
    ("eq", "PyTorch", "`td.equal`"),
    ("ne", "PyTorch", "`td.not_equal`"),
    ("lt", "PyTorch", "`td.less`"),
    ("le", "PyTorch", "`td.less_equal`"),
    ("gt", "PyTorch", "`td.greater`"),
    ("ge", "PyTorch", "`td.greater_equal`"),
    ("isclose", "NumPy, PyTorch, JAX", "`td.abs(x - y) <= tolerance`"),
    ("allclose", "NumPy, PyTorch, JAX", "`td.all(td.abs(x - y) <= tolerance)`"),
    ("array_equal", "NumPy, JAX", "`td.all(td.equal(x, y))`"),
    ("invert", "NumPy, JAX", "`td.bitwise_invert`"),
    ("bitwise_not", "NumPy, PyTorch, JAX", "`td.bitwise_invert`"),
    ("left_shift", "NumPy, JAX", "`td.bitwise_left_shift`"),
    ("right_shift", "NumPy, JAX", "`td.bitwise_right_shift`"),
    # reductions
    ("reduce_sum", "TensorFlow", "`td.sum`"),
    ("reduce_mean", "TensorFlow", "`td.mean`"),
    ("reduce_max", "TensorFlow", "`td.max`"),
    ("reduce_min", "TensorFlow", "`td.min`"),
    ("reduce_prod", "TensorFlow", "`td.prod`"),
    ("reduce_all", "TensorFlow", "`td.all`"),
    ("reduce_any", "TensorFlow", "`td.any`"),
    ("reduce_std", "TensorFlow", "`td.std`"),
    ("reduce_variance", "TensorFlow", "`td.var`"),
    ("reduce_logsumexp", "TensorFlow", "`td.logsumexp`"),
    ("amax", "NumPy, PyTorch, JAX", "`td.max`"),
    ("amin", "NumPy, PyTorch, JAX", "`td.min`"),
    ("average", "NumPy, JAX", "`td.mean`, or `td.sum(w * x) / td.sum(w)` with weights"),
    ("cumsum", "NumPy, PyTorch, TensorFlow, JAX", "`td.cumulative_sum`"),
    ("cumprod", "NumPy, PyTorch, TensorFlow, JAX", "`td.cumulative_prod`"),
    ("norm", "PyTorch, TensorFlow", "`td.linalg.vector_norm`, or `td.linalg.matrix_norm`"),
    ("inverse", "PyTorch", "`td.linalg.inv`"),
    # products
    ("mm bmm mv", "PyTorch", "`td.matmul` or `x @ y`"),
    ("matvec", "NumPy", "`td.matmul` or `x @ y`"),
    ("dot", "NumPy, PyTorch, JAX", "`td.matmul` or `x @ y`"),
    ("inner vdot", "NumPy, PyTorch, JAX", "`td.vecdot`"),
    ("outer", "NumPy, PyTorch, JAX", "`td.linalg.outer`"),
    ("addmm", "PyTorch", "`x @ y + c`"),
    ("cross", "NumPy, PyTorch, JAX", "`td.linalg.cross`"),
    ("trace", "NumPy, PyTorch, JAX", "`td.linalg.trace`"),
    # searching and indexing
    ("index_select", "PyTorch", "`td.take`"),
    ("gather", "PyTorch", "`td.take_along_axis`, or `td.take` for whole slices"),
    ("gather_nd", "TensorFlow", "integer indexing: `x[i, j]`"),
    ("embedding", "PyTorch", "`td.take(table, indices, axis=0)`"),
    ("scatter", "PyTorch", "index assignment: `x[i] = values`"),
    ("scatter_nd", "TensorFlow", "index assignment: `x[i, j] = values`"),
    ("masked_select", "PyTorch", "`x[mask]`"),
    ("boolean_mask", "TensorFlow", "`x[mask]`"),
    ("masked_fill", "PyTorch", "`td.where(mask, value, x)`"),
    ("select", "NumPy, JAX", "`td.where`"),
    ("argwhere", "NumPy, PyTorch, JAX", "`td.stack(td.nonzero(x), axis=1)`"),
    ("flatnonzero", "NumPy, JAX", "`td.nonzero(td.reshape(x, (-1,)))`"),
    ("unique", "NumPy, PyTorch, TensorFlow, JAX", "`td.unique_values`"),
    ("topk", "PyTorch", "`td.top_k`"),
    # neural networks
    ("keras", "TensorFlow", "`td.nn` for layers, `td.optim` for optimizers"),
    ("functional", "PyTorch", "`td.relu` and the like, which are in `td`, and `td.nn`"),
    ("conv1d conv2d conv3d", "PyTorch, TensorFlow", "`td.conv`, which takes 1 to 3 dimensions"),
    ("conv_general_dilated", "JAX", "`td.conv`"),
    ("max_pool1d max_pool2d max_pool3d", "PyTorch, TensorFlow", "`td.max_pool`"),
    ("avg_pool", "TensorFlow", "`td.average_pool`"),
    ("avg_pool1d avg_pool2d avg_pool3d", "PyTorch", "`td.average_pool`"),
    ("bias_add", "TensorFlow", "`x + bias`"),
    ("relu6", "PyTorch, TensorFlow", "`td.nn.relu6`"),
    ("leaky_relu", "PyTorch, TensorFlow, JAX", "`td.nn.leaky_relu`"),
    ("log_sigmoid", "TensorFlow, JAX", "`-td.logaddexp(-x, 0)`"),
    ("logsigmoid", "PyTorch", "`-td.logaddexp(-x, 0)`"),
    ("erfc", "PyTorch, TensorFlow, JAX", "`1 - td.erf(x)`"),
    ("cross_entropy", "PyTorch", "`td.nn.cross_entropy`"),
    ("mse_loss", "PyTorch", "`td.nn.squared_error`"),
    # random numbers
    ("rand", "PyTorch", "`td.random.uniform`"),
    ("randn", "PyTorch", "`td.random.normal`"),
    ("randperm", "PyTorch", "`td.random.permutation`"),
    ("multinomial", "PyTorch", "`td.random.categorical`"),
    ("bernoulli", "PyTorch", "`td.random.bernoulli`"),
    ("manual_seed", "PyTorch", "`td.random.seed`"),
    ("set_random_seed", "TensorFlow", "`td.random.seed`"),
    # gradients
    ("autograd", "PyTorch", "`td.gradients(ys, xs)`, or `y.backward()`"),
    ("GradientTape", "TensorFlow", "`td.gradients(ys, xs)`: no tape, the graph is always there"),
    ("detach", "PyTorch", "`td.stop_gradient`"),
    ("custom_gradient", "TensorFlow", "`td.custom_vjp`"),
    ("remat", "JAX", "`td.checkpoint`"),
    ("recompute_grad", "TensorFlow", "`td.checkpoint`"),
    ("inference_mode", "PyTorch", "`td.no_grad`"),
    ("enable_grad", "PyTorch", "nothing: outside `td.no_grad` gradients can always be taken"),
    ("vectorized_map", "TensorFlow", "`td.vmap`"),
    ("jacrev", "PyTorch, JAX", "`td.jacobian`"),
    ("jacfwd", "PyTorch, JAX", '`td.jacobian(f, mode="forward")`'),
    # running
    ("jit", "PyTorch, JAX", "`td.compile`"),
    ("device_put", "JAX", '`x.to("cuda")`'),
    ("device_get", "JAX", "`x.numpy()`"),
    ("cuda", "PyTorch", '`with td.device("cuda"):`'),
    ("get_variable", "TensorFlow", "`td.Variable`"),
    ("Parameter", "PyTorch", "`td.Variable`, or `td.nn.Parameter` in a module"),
    ("shared", "Theano", "`td.Variable`"),
    ("assign", "TensorFlow", "`td.update(variable, value)`, or `variable.assign(value)`"),
    ("assign_add", "TensorFlow", "`td.update(variable, variable + value)`"),
    ("InteractiveSession", "TensorFlow", "nothing: a value is there when it is asked for"),
    (
        "global_variables_initializer initialize_all_variables",
        "TensorFlow",
        "nothing: a variable has its first value from the start",
    ),
    ("Graph get_default_graph", "TensorFlow", "nothing: a graph is what a result depends on (`td.show(x)`)"),
    ("name_scope variable_scope", "TensorFlow", "`td.scope`"),
    ("named_scope", "JAX", "`td.scope`"),
    ("make_jaxpr", "JAX", "`td.explain`"),
)

# What other systems have as a method is often a function here: these are the methods that are not.
ARRAY = (
    ("view", "PyTorch", "`td.reshape`"),
    ("view_as reshape_as", "PyTorch", "`td.reshape(x, y.shape)`"),
    ("expand", "PyTorch", "`td.broadcast_to`"),
    ("expand_as", "PyTorch", "`td.broadcast_to(x, y.shape)`"),
    ("dim", "PyTorch", "`x.ndim`"),
    ("nelement", "PyTorch", "`x.size`"),
    ("get_shape", "TensorFlow", "`x.shape`"),
    ("set_shape", "TensorFlow", "the shape in `td.placeholder`"),
    ("data", "PyTorch", "`td.stop_gradient(x)`"),
    ("contiguous", "PyTorch", "nothing: the layout in memory is the compiler's to choose"),
    ("cpu", "PyTorch", '`x.to("cpu")`'),
    ("cuda", "PyTorch", '`x.to("cuda")`'),
    ("is_cuda", "PyTorch", "`x.device`"),
    ("type", "PyTorch", "`td.astype(x, dtype)`"),
    ("float", "PyTorch", "`td.astype(x, td.float32)`"),
    ("double", "PyTorch", "`td.astype(x, td.float64)`"),
    ("half", "PyTorch", "`td.astype(x, td.float16)`"),
    ("long", "PyTorch", "`td.astype(x, td.int64)`"),
    ("int", "PyTorch", "`td.astype(x, td.int32)`"),
    ("bool", "PyTorch", "`td.astype(x, td.bool)`"),
    ("eval", "TensorFlow", "`x.numpy()`"),
    ("block_until_ready", "JAX", "`td.evaluate(x)`"),
    ("at", "JAX", "index assignment: `x[i] = values`"),
    ("index_put", "PyTorch", "index assignment: `x[i] = values`"),
    ("fill", "NumPy", "`x[...] = value`"),
    ("flat", "NumPy", "`td.reshape(x, (-1,))`"),
    ("add_", "PyTorch", "`x += y`"),
    ("sub_", "PyTorch", "`x -= y`"),
    ("mul_", "PyTorch", "`x *= y`"),
    ("div_", "PyTorch", "`x /= y`"),
    ("fill_", "PyTorch", "`x[...] = value`"),
    ("zero_", "PyTorch", "`x[...] = 0`"),
    ("copy_", "PyTorch", "`x[...] = y`, or `x.assign(y)` for a variable"),
    ("clamp_", "PyTorch", "`x = td.clip(x, low, high)`"),
    ("grad_fn", "PyTorch", "`td.show(x)`"),
    ("retain_grad", "PyTorch", "`td.gradients(y, [x])`: any array can be asked for"),
    ("assign_add", "TensorFlow", "`x.assign(x + y)`"),
    ("assign_sub", "TensorFlow", "`x.assign(x - y)`"),
    ("read_value", "TensorFlow", "the variable itself: `v + 1` reads it"),
    ("initializer", "TensorFlow", "nothing: a variable has its first value from the start"),
)

NN = (
    ("Linear", "PyTorch", "`td.nn.Dense`"),
    ("LazyLinear", "PyTorch", "`td.nn.Dense`, which is told how many features come in"),
    ("Conv1d Conv2d Conv3d", "PyTorch", "`td.nn.Conv`, with `dimensions=` other than 2"),
    ("Conv1D Conv2D Conv3D", "Keras", "`td.nn.Conv`, with `dimensions=` other than 2"),
    ("ConvTranspose1d ConvTranspose2d ConvTranspose3d", "PyTorch", "`td.nn.ConvTranspose`"),
    ("Conv1DTranspose Conv2DTranspose Conv3DTranspose", "Keras", "`td.nn.ConvTranspose`"),
    ("MaxPool1d MaxPool2d MaxPool3d", "PyTorch", "`td.nn.MaxPool`, which takes 1 to 3 dimensions"),
    ("MaxPooling1D MaxPooling2D MaxPooling3D", "Keras", "`td.nn.MaxPool`, which takes 1 to 3 dimensions"),
    ("AvgPool1d AvgPool2d AvgPool3d", "PyTorch", "`td.nn.AveragePool`, which takes 1 to 3 dimensions"),
    ("AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d", "PyTorch", "`td.nn.AdaptiveAveragePool`"),
    ("AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d", "PyTorch", "`td.nn.AdaptiveMaxPool`"),
    ("GlobalAveragePooling2D", "Keras", "`td.nn.GlobalAveragePool`"),
    ("BatchNorm1d BatchNorm2d BatchNorm3d", "PyTorch", "`td.nn.BatchNorm`, which takes any dimensions"),
    ("BatchNormalization", "Keras", "`td.nn.BatchNorm`"),
    ("LayerNormalization", "Keras", "`td.nn.LayerNorm`"),
    ("InstanceNorm1d InstanceNorm2d InstanceNorm3d", "PyTorch", "`td.nn.InstanceNorm`"),
    ("Dropout1d Dropout2d Dropout3d", "PyTorch", "`td.nn.Dropout(rate, spatial=True)`"),
    ("SpatialDropout1D SpatialDropout2D", "Keras", "`td.nn.Dropout(rate, spatial=True)`"),
    ("MultiheadAttention", "PyTorch", "`td.nn.MultiHeadAttention`"),
    ("scaled_dot_product_attention", "PyTorch", "`td.nn.attention`"),
    ("ModuleList ModuleDict ParameterList", "PyTorch", "a plain list or dict, whose modules are found"),
    ("functional", "PyTorch", "`td.relu` and the like, which are in `td`, and `td.nn`"),
    ("init", "PyTorch", "`td.nn.initial`"),
    ("initializers", "Keras", "`td.nn.initial`"),
    ("ReLU", "PyTorch, Keras", "`td.relu`, a function, which `td.nn.Sequential` takes as it is"),
    ("Sigmoid", "PyTorch", "`td.sigmoid`, a function, which `td.nn.Sequential` takes as it is"),
    ("Tanh", "PyTorch", "`td.tanh`, a function, which `td.nn.Sequential` takes as it is"),
    ("Softmax", "PyTorch, Keras", "`td.softmax`, a function, which `td.nn.Sequential` takes as it is"),
    ("GELU", "PyTorch", "`td.gelu`, a function, which `td.nn.Sequential` takes as it is"),
    ("SiLU", "PyTorch", "`td.nn.silu`, a function, which `td.nn.Sequential` takes as it is"),
    ("Flatten", "PyTorch, Keras", "`lambda x: td.reshape(x, (x.shape[0], -1))`"),
    ("Identity", "PyTorch", "`lambda x: x`"),
    ("CrossEntropyLoss NLLLoss", "PyTorch", "`td.nn.cross_entropy`, a function"),
    ("BCEWithLogitsLoss BCELoss", "PyTorch", "`td.nn.binary_cross_entropy`, a function of logits"),
    ("MSELoss", "PyTorch", "`td.nn.squared_error`, a function"),
    ("L1Loss", "PyTorch", "`td.nn.absolute_error`, a function"),
    ("SmoothL1Loss HuberLoss", "PyTorch", "`td.nn.huber`, a function"),
    ("KLDivLoss", "PyTorch", "`td.nn.kl_divergence`, a function"),
    ("TripletMarginLoss", "PyTorch", "`td.nn.triplet`, a function"),
    ("MultiMarginLoss", "PyTorch", "`td.nn.hinge`, a function"),
)

OPTIM = (
    ("Adagrad", "PyTorch, Keras", "`td.optim.AdaGrad`"),
    ("RMSprop", "PyTorch, Keras", "`td.optim.RMSProp`"),
    ("sgd", "JAX", "`td.optim.SGD`"),
    ("adam", "JAX", "`td.optim.Adam`"),
    ("adamw", "JAX", "`td.optim.AdamW`"),
    ("Momentum MomentumOptimizer", "TensorFlow", "`td.optim.SGD(parameters, rate, momentum=0.9)`"),
    ("GradientDescentOptimizer", "TensorFlow", "`td.optim.SGD`"),
    ("AdamOptimizer", "TensorFlow", "`td.optim.Adam`"),
    ("lr_scheduler", "PyTorch", "a schedule as the optimizer's rate: `td.optim.cosine` and the like"),
    ("schedules", "Keras", "a schedule as the optimizer's rate: `td.optim.cosine` and the like"),
)

# What is asked of a network itself.
NETWORK = (
    ("state_dict get_weights", "PyTorch, Keras", "`net.state()`"),
    (
        "load_state_dict",
        "PyTorch",
        "`net.load_state(values)`, or `td.models.load_pytorch` for PyTorch's weights",
    ),
    ("set_weights", "Keras", "`net.load_state(values)`"),
    ("load_weights", "Keras", "`net.load_state(td.models.read_weights(path))`"),
    ("named_parameters", "PyTorch", "`net.parameters()`, a dict by name"),
    ("trainable_variables trainable_weights", "Keras", "`net.parameters()`, a dict by name"),
    ("weights", "Keras", "`net.variables()`, a dict by name"),
    ("named_modules", "PyTorch", "`net.modules()`, a dict by name"),
    ("named_children", "PyTorch", "`net.children()`, a dict by name"),
    ("requires_grad_", "PyTorch", "`net.freeze()` and `net.unfreeze()`"),
    ("zero_grad", "PyTorch", "nothing: `opt.step()` clears the gradients that it has used"),
    ("register_buffer", "PyTorch", "an attribute that is a `td.nn.Statistic`"),
    ("register_parameter", "PyTorch", "an attribute that is a `td.nn.Parameter`"),
    ("add_module", "PyTorch", "an attribute"),
    ("cuda", "PyTorch", '`net.to("cuda")`'),
    ("half", "PyTorch", '`net.compute_dtype = "float16"`'),
    ("bfloat16", "PyTorch", '`net.compute_dtype = "bfloat16"`'),
    ("add", "Keras", "`td.nn.Sequential(*parts)`"),
    ("append extend insert", "PyTorch", "`td.nn.Sequential(*parts)`"),
    ("fit", "Keras", "`td.train.Trainer(net, loss, optimizer).fit(data, epochs=...)`"),
    ("evaluate", "Keras", "`td.train.Trainer(net, loss, optimizer).evaluate(data)`"),
    ("predict", "Keras", "`net.eval()(x)`, or `predict` of a `td.train.Trainer`"),
    ("compile", "PyTorch, Keras", "`td.compile(net)`, or a `td.train.Trainer`, which compiles its steps"),
)

# What is asked of an optimizer itself.
OPTIMIZER = (
    ("zero_grad", "PyTorch", "nothing: `opt.step()` clears the gradients that it has used"),
    ("state_dict", "PyTorch", "`opt.state()`"),
    ("load_state_dict", "PyTorch", "`opt.load_state(values)`"),
    ("param_groups", "PyTorch", "`opt.groups`"),
    ("add_param_group", "PyTorch", "a list of `td.optim.Group` when it is made"),
    ("lr", "PyTorch", "`opt.rate`"),
    ("learning_rate", "Keras", "`opt.rate`"),
    ("apply_gradients", "TensorFlow, Keras", "`opt.step(gradients)`"),
    ("compute_gradients", "TensorFlow", "`td.gradients(loss, opt.parameters)`"),
)

DATA = (
    ("DataLoader", "PyTorch, Grain", "`dataset.batch(n).loader()`"),
    ("TensorDataset", "PyTorch", "`td.data.arrays`"),
    ("from_tensor_slices", "TensorFlow", "`td.data.arrays`"),
    ("ImageFolder", "PyTorch", "`td.data.image_folder`"),
)

KEYWORD = (
    ("dim", "PyTorch", "`axis=`"),
    ("dims", "PyTorch", "`axis=`, or `axes=` in `td.permute_dims`"),
    ("dim0 dim1", "PyTorch", "`axes=` of `td.permute_dims`"),
    ("perm", "TensorFlow", "`axes=`"),
    ("reduction_indices", "TensorFlow", "`axis=`"),
    ("keepdim", "PyTorch", "`keepdims=`"),
    ("keep_dims", "TensorFlow", "`keepdims=`"),
    ("unbiased", "PyTorch", "`correction=`: 1 for unbiased, 0 for not"),
    ("ddof", "NumPy, JAX", "`correction=`"),
    ("a_min", "NumPy, JAX", "`min=`"),
    ("a_max", "NumPy, JAX", "`max=`"),
    ("clip_value_min", "TensorFlow", "`min=`"),
    ("clip_value_max", "TensorFlow", "`max=`"),
    ("newshape", "NumPy", "`shape=`"),
    ("size", "NumPy, PyTorch", "`shape=`"),
    ("shifts", "PyTorch", "`shift=`"),
    ("reps", "NumPy, JAX", "`repetitions=`"),
    ("multiples", "TensorFlow", "`repetitions=`"),
    ("strides", "TensorFlow, Keras", "`stride=`"),
    ("window_strides", "JAX", "`stride=`"),
    ("dilations", "TensorFlow", "`dilation=`"),
    ("rhs_dilation", "JAX", "`dilation=`"),
    ("feature_group_count", "JAX", "`groups=`"),
    ("transpose_a", "TensorFlow", "`td.matrix_transpose(x) @ y`"),
    ("transpose_b", "TensorFlow", "`x @ td.matrix_transpose(y)`"),
    ("rounding_mode", "PyTorch", "`td.floor_divide(x, y)`, or `td.trunc(x / y)`"),
    ("out", "NumPy, PyTorch", "`x = ...` or `x[...] = ...`"),
    ("initial", "NumPy, JAX", "`td.maximum(td.max(x), first)` and the like"),
    ("kind", "NumPy", "`stable=`"),
    ("order", "NumPy", "nothing: the layout in memory is the compiler's to choose"),
    ("memory_format", "PyTorch", "nothing: the layout in memory is the compiler's to choose"),
    ("inplace", "PyTorch", "`x = td.relu(x)`"),
    ("create_graph", "PyTorch", "nothing: gradients are arrays, so take gradients of them"),
    ("retain_graph", "PyTorch", "nothing: the graph stays as long as its results do"),
    ("static_argnums", "JAX", "nothing: what is neither an array nor a float is static"),
)

TABLE = tuple(
    Foreign(where, name, systems, write)
    for where, rows in (
        ("module", MODULE),
        ("array", ARRAY),
        ("nn", NN),
        ("optim", OPTIM),
        ("network", NETWORK),
        ("optimizer", OPTIMIZER),
        ("data", DATA),
        ("keyword", KEYWORD),
    )
    for names, systems, write in rows
    for name in names.split()
)

# Names that mean here what they mean there, for the page's first paragraph.
KEPT = (
    ("Variable", "TensorFlow"),
    ("placeholder", "TensorFlow"),
    ("Session", "TensorFlow"),
    ("gradients", "TensorFlow"),
    ("function", "Theano"),
    ("no_grad", "PyTorch"),
    ("compile", "PyTorch"),
    ("checkpoint", "PyTorch"),
    ("grad", "JAX"),
    ("value_and_grad", "JAX"),
    ("vjp", "JAX"),
    ("jvp", "JAX"),
    ("custom_vjp", "JAX"),
    ("stop_gradient", "JAX"),
)

HEADINGS = {
    "module": ("Functions and types", "{}"),
    "array": ("Attributes and methods of arrays", "x.{}"),
    "nn": ("Layers and losses", "nn.{}"),
    "optim": ("Optimizers", "optim.{}"),
    "network": ("Methods of networks", "net.{}"),
    "optimizer": ("Methods of optimizers", "opt.{}"),
    "data": ("Input pipelines", "data.{}"),
    "keyword": ("Keyword arguments", "{}="),
}

_BY_PLACE = {(row.where, row.name): row for row in TABLE}


def advice_for_attribute(owner: str, name: str, ours: Iterable[str] = ()) -> str | None:
    """What to write instead of `td.name` (of the owner "module"), `x.name` ("array"), `net.name` ("network"),
    `opt.name` ("optimizer") or `td.nn.name` ("nn", and so on for every namespace); None if nothing is known
    and nothing in `ours` is near.

    `ours` are the names that the owner has. What other systems have as a method or in a namespace is often a
    plain function here, so unknown names are looked up among the module's too.

    >>> advice_for_attribute("module", "cat")
    "for PyTorch's `cat` write `td.concat`"
    >>> advice_for_attribute("array", "unsqueeze")
    "for PyTorch's `unsqueeze` write `td.expand_dims`"
    >>> advice_for_attribute("module", "softmaxx", ["softmax", "exp"])
    'did you mean `td.softmax`?'
    """
    prefix = {"module": "td.", "array": "x.", "network": "net.", "optimizer": "opt."}.get(
        owner, f"td.{owner}."
    )
    places = (owner,) if owner in ("network", "optimizer") else (owner, "module")
    return _from_table(places, name) or _nearest(name, ours, prefix + "{}")


def advice_for_keyword(name: str, ours: Iterable[str] = ()) -> str | None:
    """What to write instead of the argument `name=`, or None; `ours` are the function's own arguments.

    >>> advice_for_keyword("dim")
    "for PyTorch's `dim=` write `axis=`"
    """
    return _from_table(("keyword",), name) or _nearest(name, ours, "{}=")


def as_markdown() -> str:
    """The table as the documentation's page, one section for each place where a name is written."""
    kept = {}
    for name, system in KEPT:
        kept.setdefault(system, []).append(f"`{name}`")
    lines = [
        "# Coming from another system",
        "",
        "Treadle has one name for each thing: the [Python Array API standard](https://data-apis.org/array-api/)'s",
        "where it has one. Whoever types another system's name gets an error that says what this page says.",
        "",
        "These names are what you know them to be: "
        + "; ".join(f"{', '.join(names)} ({system})" for system, names in kept.items())
        + ".",
    ]
    for where, (heading, form) in HEADINGS.items():
        lines += ["", f"## {heading}", "", "| for | of | write |", "|---|---|---|"]
        rows = sorted((row for row in TABLE if row.where == where), key=lambda row: row.name.lower())
        lines += [f"| `{form.format(row.name)}` | {row.systems} | {row.write} |" for row in rows]
    return "\n".join(lines) + "\n"


def _from_table(places: Iterable[str], name: str) -> str | None:
    for where in places:
        row = _BY_PLACE.get((where, name))
        if row:
            shown = name + "=" if where == "keyword" else name
            return f"for {row.systems.replace(', ', '/')}'s `{shown}` write {row.write}"
    return None


def _nearest(name: str, ours: Iterable[str], form: str) -> str | None:
    found = get_close_matches(name, ours, n=1, cutoff=0.7)
    return f"did you mean `{form.format(found[0])}`?" if found else None
