%%% What `py' exports. Included by `py.erl', which defines the first, as `py_builtins.hrl' and `py_operators.hrl' do the others.

-export([start/0, stop/0, stop/1, restart/0, start_pool/2, stop_pool/1, stop_pool/2, restart_pool/1, restart_pool/2]).
-export([child_spec/2, resize/2, start_gateway/1, stop_gateway/1, gateways/0]).
-export([workers/0, workers/1, stats/1, add_worker/1, remove_worker/1, restart_worker/1, reload/1, reload/2]).
-export(['add-server'/1, 'get-python-pids'/0, help/0, help/1, doctor/0, status/0, status/1, top/0, top/1, with_worker/1, with_worker/2, cast/2]).
-export([func/1, func/2, func/3, func/4, func/5]).
-export([init/1, init/2, init/3, init/4, init/5]).
-export([const/1, const/2, const/3, attr/2, attr/3, method/2, method/3, method/4, method/5]).
-export([pycall/2, pycall/3, pycall/4, release/1]).
-export([call_all/3, call_all/4, call_n/4, call_n/5, async/3, async/4, async/5, await/1, await/2, cancel/1, yield/2]).
-export([scatter/3, scatter/4, gather/1, gather/2, gather_all/1, gather_all/2, fold_done/3, fold_done/4]).
-export([send_request/3, send_request/4, send_request/5, check_response/2, receive_response/2, wait_response/2]).
-export([stream/1, stream/2, stream/3, stream/4, stream/5, stream_next/1, stream_next/2, stream_fold/3, stream_close/1]).
-export([source/1, source/2, share/1, value/1, split/2, shared_memory/0]).
-export([pmap/3, pmap/4, pfold/5, pfold/6, preduce/3, preduce/4, pmap_reduce/4, pmap_reduce/5]).
%% Builtins, in py_builtins.hrl.
-export([
    abs/1, all/1, any/1, ascii/1, bin/1, bool/0, bool/1, bytearray/0, bytearray/1, bytearray/2, bytearray/3,
    bytes/0, bytes/1, bytes/2, bytes/3, callable/1, chr/1, compile/3, compile/4, complex/0, complex/1,
    complex/2, dict/0, dict/1, dir/1, divmod/2, enumerate/1, enumerate/2, filter/2, float/0, float/1, format/1,
    format/2, frozenset/0, frozenset/1, getattr/2, getattr/3, hasattr/2, hash/1, hex/1, id/1, int/1, int/2,
    isinstance/2, issubclass/2, iter/1, iter/2, len/1, map/2, map/3, max/1, max/2, max/3, max/4, memoryview/1,
    min/1, min/2, min/3, min/4, next/1, next/2, object/0, oct/1, open/1, open/2, ord/1, pow/2, pow/3, print/1,
    print/2, property/1, range/1, range/2, range/3, repr/1, reversed/1, round/1, round/2, set/0, set/1,
    slice/1, slice/2, slice/3, sorted/1, sorted/2, str/0, str/1, str/2, sum/1, sum/2, tuple/0, tuple/1, type/1,
    type/3, zip/1, zip/2, zip/3, vars/1, pylist/0, pylist/1, ptype/1, prepr/1, pdir/1, pvars/1
]).
%% Operators, in py_operators.hrl.
-export([
    lt/2, le/2, eq/2, ne/2, ge/2, gt/2, 'not-'/1, truth/1, 'is-'/2, 'is-not'/2, add/2, floordiv/2, mod/2,
    mul/2, sub/2, truediv/2, matmul/2, index/1, neg/1, pos/1, 'and-'/2, 'or-'/2, 'xor'/2, lshift/2, rshift/2,
    inv/1, invert/1, concat/2, contains/2, countOf/2, getitem/2, indexOf/2, length_hint/1, length_hint/2,
    attrgetter/1, itemgetter/1, methodcaller/1, methodcaller/2, setitem/3, delitem/2, setattr/3
]).
