%%% @doc The options of one call. Its last argument; checked in every call, so the tables are literals.
-module(py_call_options).

-export([check/1, tables/0, again/0, times/0, places/0]).
-export_type([options/0, show_arguments/0]).

-type show_arguments() :: cut | none | all.
%% What the stack of a call that fails shows of its arguments: what is small, nothing, or all of them whatever their size.
-type options() :: #{
    pool => py_config:pool_name(),
    worker => pid(),
    node => node(),
    scope => local | cluster,
    timeout => timeout(),
    show_arguments => show_arguments(),
    retry => py_retry:policy(),
    strings => py_mapping:strings(),
    dicts => py_mapping:dicts(),
    binaries => py_mapping:binaries(),
    none => py_mapping:no_value(),
    return => py_mapping:return(),
    haystack => boolean(),
    frames => py_mapping:frames(),
    matrices => boolean(),
    arrays => py_mapping:arrays()
}.
%% `pool' (default `default'), `worker' (a pid), `node'; `timeout' in milliseconds or `infinity' (default: the pool's
%% `call_timeout'); `strings => list | binary', `dicts => tagged | map', `binaries => str | bytes', `return => value | ref';
%% `haystack => boolean()', `frames => grid | columns | arrow', `matrices => boolean()' (see `docs/haystack.md');
%% `arrays => opaque | value | shared' (see `docs/shared-arrays.md').

-define(WHERE, #{
    pool => {default, atom, "the name of a pool, an atom"},
    worker => {undefined, pid, "the pid of a worker (see py:workers/0)"},
    node => {undefined, atom, "a node"},
    scope => [local, cluster]
}).
-define(TIMES, #{
    timeout => {infinity, timeout},
    show_arguments => [cut, none, all]
}).
-define(AGAIN, #{
    retry => {undefined, fun py_retry:is_policy/1,
        "#{times => 1..1000, on => [worker_down | node_down | overload | python | 'module.Class'], backoff => Ms | {FirstMs, MostMs}}"}
}).

%% @doc The options of one call, checked.
-spec check(term()) -> {ok, options()} | {error, py_options:problem()}.
check(Options) when map_size(Options) =:= 0 -> {ok, Options};
%% What calls have most.
check(#{pool := Pool} = Options) when map_size(Options) =:= 1, is_atom(Pool) -> {ok, Options};
check(#{timeout := Timeout} = Options) when map_size(Options) =:= 1 ->
    case py_options:is_natural(Timeout) of
        true -> {ok, Options};
        false -> checked(Options)
    end;
check(Options) ->
    checked(Options).

checked(Options) -> py_options:check(Options, [?WHERE, ?TIMES, py_mapping:table(), ?AGAIN]).

%% @doc That of calls that may run twice, for {@link py_options:check/2}: of those that stand for themselves.
-spec again() -> py_options:table().
again() -> ?AGAIN.

%% @doc All others, for {@link py_options:check/2}.
-spec tables() -> [py_options:table()].
tables() -> [?WHERE, ?TIMES, py_mapping:table()].

%% @doc Those that are not about values, and not about where it runs.
-spec times() -> py_options:table().
times() -> ?TIMES.

%% @doc Those that say where and for how long, and nothing about its values.
-spec places() -> [atom()].
places() -> [pool, worker, node, scope, timeout, show_arguments, retry].
