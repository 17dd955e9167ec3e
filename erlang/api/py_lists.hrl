%%% Functions of `py' that work on lists. Included by `py.erl'.

%% @doc The function of each item of a list, in the order of the list. The items travel in chunks, a call for each.
-spec pmap(name(), name(), [arg()]) -> [value()].
pmap(Module, Function, List) -> py_parallel:pmap(pmap, [Module, Function, List]).

%% @doc The same with options: those of a call, where `timeout' is the deadline of the whole; `chunk', the number of items in
%% a call (default: chosen by how long the calls take); `ordered => false' for the order in which the chunks are done;
%% `progress => true' for a line in the terminal, or a fun of a {@link py_parallel_options:report()}; `retry', how often a chunk is
%% repeated after a failure of the bridge (default 0: calls need not be repeatable), never after an exception or a timeout;
%% `window', how many chunks a worker has in hand (default 2).
%%
%% The first error ends the whole. An exception has `{item, N}' at the end of its trace. With `errors => return' each result is an
%% {@link outcome()}; `item_timeout' is the time of each item, which has a call of its own then.
-spec pmap(name(), name(), [arg()], py_parallel_options:pmap()) -> [value()].
pmap(Module, Function, List, Options) -> py_parallel:pmap(pmap, [Module, Function, List, Options]).

%% @doc `pfold(Fun, Acc, Module, Function, List, #{})'.
-spec pfold(fun((Result :: term(), Acc) -> Acc) | fun((Item :: arg(), Result :: term(), Acc) -> Acc), Acc, name(), name(), [arg()]) -> Acc.
pfold(Fun, Acc, Module, Function, List) -> py_parallel:pfold(pfold, [Fun, Acc, Module, Function, List]).

%% @doc `Fun(Result, Acc)' or `Fun(Item, Result, Acc)' of what {@link pmap/4} makes of each item, as the results come; what it gives at
%% last. If `Fun' fails, what is not done is cancelled.
-spec pfold(
    fun((Result :: term(), Acc) -> Acc) | fun((Item :: arg(), Result :: term(), Acc) -> Acc), Acc, name(), name(), [arg()],
    py_parallel_options:pmap()
) -> Acc.
pfold(Fun, Acc, Module, Function, List, Options) -> py_parallel:pfold(pfold, [Fun, Acc, Module, Function, List, Options]).

%% @doc `pmap_reduce(Module, Function, Reduce, List, #{})'.
-spec pmap_reduce(name(), name(), name() | {name(), name()}, [arg()]) -> value().
pmap_reduce(Module, Function, Reduce, List) -> py_parallel:pmap_reduce(pmap_reduce, [Module, Function, Reduce, List]).

%% @doc One value of what a function makes of all items, by an associative function of two arguments, of the same module or
%% `{Module, Function}'. Both run in Python: what the first one makes does not come here. Options are those of {@link preduce/4}.
-spec pmap_reduce(name(), name(), name() | {name(), name()}, [arg()], py_parallel_options:preduce()) -> value().
pmap_reduce(Module, Function, Reduce, List, Options) ->
    py_parallel:pmap_reduce(pmap_reduce, [Module, Function, Reduce, List, Options]).

%% @doc One value of all items, by an associative function of two arguments: chunks are reduced in Python, and then their
%% results. An empty list is Python's `TypeError'.
-spec preduce(name(), name(), [arg()]) -> value().
preduce(Module, Function, List) -> py_parallel:preduce(preduce, [Module, Function, List]).

%% @doc The same with options: those of {@link pmap/4} without `ordered', and `initial', which stands before the first item.
-spec preduce(name(), name(), [arg()], py_parallel_options:preduce()) -> value().
preduce(Module, Function, List, Options) -> py_parallel:preduce(preduce, [Module, Function, List, Options]).
