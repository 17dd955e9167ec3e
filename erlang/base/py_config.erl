%%% @doc Options: what there is, what it may be, what it is when nothing is said. The only home of defaults.
%%%
%%% Pools come from the application environment (`sys.config'):
%%%
%%% ```
%%% {py, [{pools, [{default, #{size => 4}}, {ml, #{python => {venv, "/srv/ml"}, size => 2}}]}]}
%%% '''
%%%
%%% A pool `default' exists without any.
-module(py_config).

-export([pools/0, pool/1, call/1, places/0, cluster/1, parallel/2, stream/1, source/1, max_workers/0]).
-export([environment/0, show_arguments/0, without_secrets/1, max_new_atoms/0, max_sandbox_atoms/0, max_shared_bytes/0, describe/1]).
-export([sessions/0, session/1, session_call/1, session_pool/0, box/2]).
-export_type([pool_name/0, pool/0, pool_options/0, scheduler/0, python/0, mfargs/0, call_options/0, problem/0]).
-export_type([scatter_options/0, pmap_options/0, preduce_options/0, parallel/0, stream_options/0, source_options/0]).
-export_type([report/0, sandbox_kind/0, show_arguments/0, session_options/0, session_call_options/0, session/0]).

-type pool_name() :: atom().
-type scheduler() :: least_busy | round_robin | random | first | youngest | oldest | {module(), Function :: atom()}.
-type python() :: undefined | file:name_all() | {venv, file:name_all()}.
%% A path, a name on `PATH', or the directory of a virtual environment.
-type sandbox_kind() :: bwrap | docker.
-type mfargs() :: {py_term:name(), py_term:name(), [term()]}.
-type pool_options() :: #{
    size => pos_integer(),
    python => python(),
    python_path => [file:name_all()],
    env => [{string(), string() | false}],
    cd => undefined | file:name_all(),
    on_start => undefined | mfargs(),
    scheduler => scheduler(),
    call_timeout => timeout(),
    start_timeout => pos_integer(),
    kill_after => non_neg_integer(),
    print_timeout => pos_integer(),
    drain_timeout => timeout(),
    max_queue => non_neg_integer() | infinity,
    max_calls => pos_integer() | infinity,
    max_memory => pos_integer() | infinity,
    event_loop => asyncio | uvloop,
    callbacks => all | none | [{module(), Function :: atom()}],
    restart => #{max => non_neg_integer(), within => pos_integer(), delay => pos_integer(), max_delay => pos_integer()},
    encoders => [{py_term:name(), {py_term:name(), py_term:name()}}],
    decoders => [{py_term:name(), {py_term:name(), py_term:name()}}],
    strings => list | binary,
    dicts => tagged | map,
    haystack => boolean(),
    frames => grid | columns | arrow,
    matrices => boolean(),
    arrays => opaque | value | shared,
    pickle => signed | any,
    sandbox => none | sandbox_kind(),
    io => undefined | file:name_all(),
    network => none | host | string(),
    max_cpu_seconds => pos_integer() | infinity,
    max_processes => pos_integer() | infinity,
    image => string(),
    show_arguments => undefined | show_arguments(),
    log_level => debug | info | warning | error | critical
}.
%% What a pool may be given. Times are milliseconds.
-type pool() :: #{atom() => term()}.
%% Checked and complete: every key of {@link pool_options()}.
-type show_arguments() :: cut | none | all.
%% What the stack of a call that fails shows of its arguments: what is small, nothing, or all of them whatever their size.
-type call_options() :: #{
    pool => pool_name(),
    worker => pid(),
    node => node(),
    scope => local | cluster,
    timeout => timeout(),
    show_arguments => show_arguments(),
    strings => list | binary,
    dicts => tagged | map,
    binaries => str | bytes,
    return => value | ref,
    haystack => boolean(),
    frames => grid | columns | arrow,
    matrices => boolean(),
    arrays => opaque | value | shared
}.
%% The last argument of every call.
-type report() :: #{done := non_neg_integer(), total := non_neg_integer(), elapsed_ms := non_neg_integer()}.
%% How far a long operation is.
-type scatter_options() :: #{window => pos_integer(), atom() => term()}.
%% And those of {@link call_options()}, as below. `window': how many calls each worker has in hand at most.
-type pmap_options() :: #{
    chunk => pos_integer(),
    ordered => boolean(),
    progress => boolean() | fun((report()) -> term()),
    retry => non_neg_integer(),
    window => pos_integer(),
    atom() => term()
}.
%% `chunk': items in a call; `retry': how often a chunk is repeated; `window': chunks that each worker has in hand at most.
-type preduce_options() :: #{
    chunk => pos_integer(),
    initial => term(),
    progress => boolean() | fun((report()) -> term()),
    retry => non_neg_integer(),
    window => pos_integer(),
    atom() => term()
}.
-type parallel() :: #{atom() => term()}.
%% Checked and complete, but for `initial'.
-type stream_options() :: #{window => pos_integer(), atom() => term()}.
%% Those of {@link call_options()}, and how many items Python may be ahead.
-type source_options() :: #{binaries => str | bytes}.
-type session_options() :: #{
    persistent => boolean(),
    timeout => timeout(),
    owner => pid(),
    binaries => str | bytes,
    atom() => term()
}.
%% And those of {@link pool_options()} that are about one interpreter.
-type session() :: #{persistent := boolean(), timeout := timeout(), owner := pid(), binaries := str | bytes}.
%% Checked and complete.
-type session_call_options() :: #{
    timeout => timeout(),
    show_arguments => show_arguments(),
    strings => list | binary,
    dicts => tagged | map,
    binaries => str | bytes,
    return => value | ref,
    haystack => boolean(),
    frames => grid | columns | arrow,
    matrices => boolean(),
    arrays => opaque | value | shared
}.
-type problem() :: {unknown_option, term(), Known :: [atom()]} | {bad_option, atom(), term(), Expected :: string()}
    | {no_map, term()}.

-define(MAX_WORKERS, 1024).
-define(LEAST_MEMORY, 16_777_216).
-define(LEAST_PROCESSES, 8).
-define(MAX_NEW_ATOMS, 65_536).
-define(MAX_SANDBOX_ATOMS, 2_048).
-define(MAX_SESSION_ATOMS, 256).
%% Where the system does not say how much memory it has.
-define(SHARED_BYTES, 1_073_741_824).

%% @doc The most workers a pool can have.
-spec max_workers() -> pos_integer().
max_workers() -> ?MAX_WORKERS.

%% @doc The most atoms that Python's data may make while the node lives; the table of the BEAM has 1048576 unless said
%% otherwise (`+t', erl(1)).
-spec max_new_atoms() -> pos_integer().
max_new_atoms() -> ?MAX_NEW_ATOMS.

%% @doc The most atoms that the data of one sandboxed pool may make, that of one sandboxed session, that of all these
%% sessions, and that of all sandboxes, while the node lives.
-spec max_sandbox_atoms() -> #{pool | session | sessions | all => pos_integer()}.
max_sandbox_atoms() ->
    #{
        pool => ?MAX_SANDBOX_ATOMS,
        session => ?MAX_SESSION_ATOMS,
        %% What is left of all is the pools'.
        sessions => 4 * ?MAX_SANDBOX_ATOMS,
        all => 8 * ?MAX_SANDBOX_ATOMS
    }.

%% @doc The most bytes that arrays in shared memory take, all together: `max_shared_bytes' of the application environment,
%% half of the machine's memory unless said otherwise. 0: there is no shared memory.
-spec max_shared_bytes() -> {ok, non_neg_integer()} | {error, {bad_config, term(), problem()}}.
max_shared_bytes() ->
    case application:get_env(py, max_shared_bytes) of
        undefined -> {ok, memory_bytes() div 2};
        {ok, Bytes} when is_integer(Bytes), Bytes >= 0 -> {ok, Bytes};
        {ok, Other} -> {error, {bad_config, py, {bad_option, max_shared_bytes, Other, "bytes, a non-negative integer"}}}
    end.

%% proc(5): "MemTotal:  16384256 kB".
memory_bytes() ->
    case file:read_file("/proc/meminfo") of
        {ok, Text} ->
            case re:run(Text, "^MemTotal: +([0-9]+) kB", [multiline, {capture, all_but_first, binary}]) of
                {match, [Kilobytes]} -> binary_to_integer(Kilobytes) * 1_024;
                nomatch -> 2 * ?SHARED_BYTES
            end;
        {error, _} ->
            2 * ?SHARED_BYTES
    end.

%% @doc What is wrong with the rest of the application environment, and the keys in it that nobody knows.
-spec environment() -> {ok, Unknown :: [problem()]} | {error, {bad_config, py, problem()}}.
environment() ->
    case application:get_env(py, show_arguments, cut) of
        Given when Given =:= cut; Given =:= none; Given =:= all ->
            Keys = [Key || {Key, _} <- application:get_all_env(py), not lists:member(Key, [included_applications, start_failure])],
            {ok, [{unknown_option, Key, environment_keys()} || Key <- lists:sort(Keys) -- environment_keys()]};
        Other ->
            {error, {bad_config, py, {bad_option, show_arguments, Other, "cut | none | all"}}}
    end.

environment_keys() -> [max_shared_bytes, pools, sessions, show_arguments].

%% @doc What a stack shows of the arguments of a call where neither the call nor its pool says it: `show_arguments' of the
%% application environment.
-spec show_arguments() -> show_arguments().
show_arguments() ->
    case application:get_env(py, show_arguments, cut) of
        Given when Given =:= none; Given =:= all -> Given;
        _ -> cut
    end.

%% @doc The checked pools of the application environment, and `default'.
-spec pools() -> {ok, #{pool_name() => pool()}} | {error, {bad_config, term(), problem()}}.
pools() ->
    case application:get_env(py, pools, []) of
        List when is_list(List) -> pools(List, #{});
        Map when is_map(Map) -> pools(maps:to_list(Map), #{});
        Other -> {error, {bad_config, pools, {bad_option, pools, Other, "a list of {Name, Options}"}}}
    end.

pools([{Name, Options} | Rest], Acc) when is_atom(Name) ->
    case pool(Options) of
        {ok, Pool} -> pools(Rest, Acc#{Name => Pool});
        {error, Problem} -> {error, {bad_config, Name, Problem}}
    end;
pools([], #{default := _} = Acc) ->
    {ok, Acc};
pools([], Acc) ->
    {ok, Default} = pool(#{}),
    {ok, Acc#{default => Default}};
pools([Other | _], _) ->
    {error, {bad_config, pools, {bad_option, pools, Other, "{Name, Options}, Name an atom"}}}.

%% @doc The name of the pool that has the workers of sessions. Its size is that of the sessions' demand.
-spec session_pool() -> pool_name().
session_pool() -> py_sessions.

%% @doc The options of sessions in the application environment, checked: how many there may be, how many workers are kept
%% warm, and what a worker is started with.
-spec sessions() ->
    {ok, #{warm := non_neg_integer(), max := pos_integer()}, pool()} | {error, {bad_config, sessions, problem()}}.
sessions() ->
    case session_workers() of
        {ok, Options} ->
            {ok, Pool} = of_session(maps:without([warm, max], Options)),
            {ok, maps:merge(#{warm => 2, max => 100}, maps:with([warm, max], Options)), Pool};
        {error, Problem} ->
            {error, {bad_config, sessions, Problem}}
    end.

session_workers() ->
    Table = maps:merge(session_pool_table(), #{
        warm => {2, fun is_warm/1, "a number of workers, 0 to 100"},
        max => {100, fun is_max_sessions/1, "a number of sessions, 1 to 900"}
    }),
    case check(from_list(application:get_env(py, sessions, #{})), Table) of
        {ok, Options} ->
            case of_session(maps:without([warm, max], Options)) of
                {ok, _} -> {ok, Options};
                Error -> Error
            end;
        Error ->
            Error
    end.

%% The scheduler `none': no call that names only the pool gets one of its workers. What a session makes is to be a value, since no
%% other Python may read its pickles and this one ends.
of_session(Options) ->
    case pool(maps:merge(#{haystack => true}, Options)) of
        {ok, #{on_start := undefined} = Pool} -> {ok, Pool#{size := 0, scheduler := none, on_start := prepared()}};
        {ok, Pool} -> {ok, Pool#{size := 0, scheduler := none}};
        Error -> Error
    end.

%% What a session needs is loaded before somebody waits for it.
prepared() -> {'erl.session', prepare, []}.

%% @doc The options of one session, checked, and what its worker is started with: they stand before those of the
%% application environment.
-spec session(term()) -> {ok, session(), pool()} | {error, problem()}.
session(Given) ->
    Own = session_table(),
    case check(from_list(Given), maps:merge(session_pool_table(), Own)) of
        {ok, Options} ->
            case session_workers() of
                {ok, Configured} ->
                    Defaults = maps:map(fun(_, {Default, _, _}) -> Default end, Own),
                    Workers = maps:merge(of_worker(Configured, Options), maps:without(maps:keys(Own), Options)),
                    case of_session(Workers) of
                        {ok, Pool} -> {ok, maps:merge(Defaults, maps:with(maps:keys(Own), Options)), Pool};
                        Error -> Error
                    end;
                Error ->
                    Error
            end;
        Error ->
            Error
    end.

%% What of the application's environment is a session's that was given these options: who says that there is to be no sandbox
%% has nothing to say about what it would have been.
of_worker(Configured, #{sandbox := none}) -> maps:without([warm, max | only_boxed()], Configured);
of_worker(Configured, _Options) -> maps:without([warm, max], Configured).

%% @doc What these options of a session say about its box and what it may do, as that of a worker with these options has it.
-spec box(session_options() | [{atom(), term()}], pool()) -> #{atom() => term()}.
box(Given, Config) -> maps:with([Key || Key <- [sandbox | maps:keys(sandbox_defaults())], is_map_key(Key, from_list(Given))], Config).

%% @doc The options of one `eval', checked.
-spec session_call(term()) -> {ok, session_call_options()} | {error, problem()}.
session_call(Options) -> check(Options, maps:without(places() -- [timeout, show_arguments], call_table())).

from_list(Options) when is_list(Options) ->
    case lists:all(fun(Option) -> is_tuple(Option) andalso tuple_size(Option) =:= 2 end, Options) of
        true -> maps:from_list(Options);
        false -> Options
    end;
from_list(Options) ->
    Options.

%% @doc The options of one pool, checked, with the defaults filled in.
-spec pool(pool_options() | [{atom(), term()}]) -> {ok, pool()} | {error, problem()}.
pool(Options) ->
    case check(from_list(Options), pool_table()) of
        {ok, Checked} ->
            Defaults = maps:map(fun(_, {Default, _, _}) -> Default end, pool_table()),
            case boxed(Checked, with_restart(maps:merge(Defaults, Checked), Defaults)) of
                {ok, Pool} -> {ok, hidden(Pool)};
                Error -> Error
            end;
        Error ->
            Error
    end.

%% What nobody is to read in a report, see `py_secret'.
hidden(#{env := Env, on_start := OnStart} = Pool) ->
    Pool#{
        env := if Env =:= [] -> []; true -> py_secret:hide(Env) end,
        on_start :=
            case OnStart of
                {Module, Function, [_ | _] = Args} -> {Module, Function, py_secret:hide(Args)};
                _ -> OnStart
            end
    }.

%% @doc Options of a pool or a session as a stack may show them.
-spec without_secrets(term()) -> term().
without_secrets(Options) when is_map(Options) ->
    maps:map(fun(Key, Value) -> shown(Key, Value) end, Options);
without_secrets([{Key, Value} | Rest]) -> [{Key, shown(Key, Value)} | without_secrets(Rest)];
without_secrets(Other) -> Other.

shown(Key, _Value) when Key =:= env; Key =:= on_start -> '...';
shown(_Key, Value) -> Value.

with_restart(#{restart := Restart} = Pool, #{restart := Default}) ->
    Pool#{restart := maps:merge(Default, Restart)}.

%% What a sandbox changes: it is bound where nothing is said, and calls nothing of Erlang's that is not listed.
boxed(Given, #{sandbox := none} = Pool) ->
    case [Option || Option <- only_boxed(), is_map_key(Option, Given)] of
        [] -> {ok, Pool};
        [Option | _] -> {error, {bad_option, Option, maps:get(Option, Given), "left out where there is no sandbox"}}
    end;
boxed(#{callbacks := all}, _Pool) ->
    {error, {bad_option, callbacks, all, "none or a list of {Module, Function} in a sandbox"}};
boxed(#{arrays := shared}, _Pool) ->
    {error, {bad_option, arrays, shared, "opaque or value in a sandbox, which has no part in shared memory"}};
boxed(Given, #{sandbox := Kind} = Pool) ->
    case maps:merge(maps:merge(Pool, sandbox_defaults()), maps:with(maps:keys(sandbox_defaults()), Given)) of
        #{network := Network} when Kind =:= bwrap, Network =/= none, Network =/= host ->
            {error, {bad_option, network, Network, "none or host with bwrap"}};
        Boxed ->
            {ok, Boxed}
    end.

only_boxed() -> maps:keys(sandbox_defaults()) -- [max_memory, callbacks].

sandbox_defaults() ->
    #{
        io => undefined,
        network => none,
        max_memory => 1_073_741_824,
        max_cpu_seconds => infinity,
        max_processes => 64,
        callbacks => none,
        image => "erl-py-sandbox"
    }.

%% @doc The options of a call that say where and for how long, and nothing about its values.
-spec places() -> [atom()].
places() -> [pool, worker, node, scope, timeout, show_arguments].

%% @doc The options of one call, checked.
-spec call(term()) -> {ok, call_options()} | {error, problem()}.
call(Options) when map_size(Options) =:= 0 -> {ok, Options};
call(Options) -> check(Options, call_table()).

%% @doc The options of a function that makes many calls, checked: those of each call, and its own with the defaults.
-spec parallel(scatter | pmap | preduce, term()) -> {ok, call_options(), parallel()} | {error, problem()}.
parallel(Kind, Options) ->
    Own = parallel_table(Kind),
    case check(Options, maps:merge(call_table(), Own)) of
        {ok, Checked} ->
            Defaults = maps:map(fun(_, {Default, _, _}) -> Default end, maps:remove(initial, Own)),
            {ok, maps:without(maps:keys(Own), Checked), maps:merge(Defaults, maps:with(maps:keys(Own), Checked))};
        Error ->
            Error
    end.

%% @doc The options of a start on another node, checked; `pools' as they came.
-spec cluster(term()) -> {ok, #{pools => term(), timeout := timeout()}} | {error, problem()}.
cluster(Options) ->
    Timeout = {Default, _, _} = {60_000, fun is_timeout/1, timeout_text()},
    case check(Options, #{timeout => Timeout, pools => {undefined, fun are_pools/1, "a list of {Name, Options}"}}) of
        {ok, Checked} -> {ok, maps:merge(#{timeout => Default}, Checked)};
        Error -> Error
    end.

are_pools(Pools) when is_list(Pools) -> element(1, pools(Pools, #{})) =:= ok;
are_pools(_) -> false.

%% @doc The options of a stream, checked: its window, and those of its calls.
-spec stream(term()) -> {ok, Window :: pos_integer(), call_options()} | {error, problem()}.
stream(Options) ->
    {Default, _, _} = Window = {256, fun is_positive/1, "a number of items, a positive integer"},
    case check(Options, (call_table())#{window => Window}) of
        {ok, Checked} -> {ok, maps:get(window, Checked, Default), maps:remove(window, Checked)};
        Error -> Error
    end.

%% @doc The options of a source, checked.
-spec source(term()) -> {ok, source_options()} | {error, problem()}.
source(Options) -> check(Options, maps:with([binaries], call_table())).

%% @doc What is wrong, for people.
-spec describe(problem()) -> unicode:chardata().
describe({unknown_option, Key, Known}) ->
    Meant =
        case py_nearest:of_name(Key, Known) of
            {ok, Nearest} -> io_lib:format(" (did you mean ~tp?)", [Nearest]);
            none -> ""
        end,
    io_lib:format("unknown option ~tp~ts; there are ~ts", [
        py_excerpt:term(Key), Meant, lists:join(", ", [atom_to_list(K) || K <- Known])
    ]);
describe({bad_option, Key, '...', Expected}) ->
    io_lib:format("option ~tp must be ~ts", [Key, Expected]);
describe({bad_option, Key, Value, Expected}) ->
    io_lib:format("option ~tp must be ~ts, not ~tP", [Key, Expected, py_excerpt:term(Value), 12]);
describe({no_map, Term}) ->
    io_lib:format("options must be a map, not ~tP", [py_excerpt:term(Term), 12]).

check(Options, Table) when is_map(Options) -> check_each(maps:to_list(Options), Options, Table);
check(Options, _Table) -> {error, {no_map, Options}}.

check_each([{Key, Value} | Rest], Options, Table) ->
    case Table of
        #{Key := {_Default, Check, Expected}} ->
            case passes(Value, Check) of
                true -> check_each(Rest, Options, Table);
                false -> {error, {bad_option, Key, shown(Key, Value), expected(Expected)}}
            end;
        #{} ->
            {error, {unknown_option, Key, lists:sort(maps:keys(Table))}}
    end;
check_each([], Options, _Table) ->
    {ok, Options}.

passes(Value, Values) when is_list(Values) -> lists:member(Value, Values);
passes(Value, Check) -> Check(Value).

%% Only when it is asked for: the tables are made for each call with options.
expected([Value | _] = Values) when is_atom(Value) -> lists:join(" | ", [atom_to_list(V) || V <- Values]);
expected(Text) -> Text.

%% Option => {Default, Check, what Check expects}; Check is a function or all the values that there are.
call_table() ->
    #{
        pool => {default, fun is_atom/1, "the name of a pool, an atom"},
        worker => {undefined, fun is_pid/1, "the pid of a worker (see py:workers/0)"},
        node => {undefined, fun is_atom/1, "a node"},
        scope => one_of(local, [local, cluster]),
        timeout => {infinity, fun is_timeout/1, timeout_text()},
        show_arguments => one_of(cut, [cut, none, all]),
        strings => one_of(list, [list, binary]),
        dicts => one_of(tagged, [tagged, map]),
        binaries => one_of(str, [str, bytes]),
        return => one_of(value, [value, ref]),
        haystack => one_of(false, [false, true]),
        frames => one_of(grid, [grid, columns, arrow]),
        matrices => one_of(false, [false, true]),
        arrays => one_of(opaque, [opaque, value, shared])
    }.

parallel_table(scatter) ->
    #{window => {2, fun is_count/1, "a number of calls, 1 to 1000"}};
parallel_table(pmap) ->
    #{
        chunk => {undefined, fun is_count_of_items/1, "a number of items, at least 1"},
        ordered => one_of(true, [true, false]),
        progress => {false, fun is_progress/1, "true, false or a fun of one argument"},
        retry => {0, fun is_natural/1, "a number of times, at least 0"},
        window => {2, fun is_count/1, "a number of chunks, 1 to 1000"}
    };
parallel_table(preduce) ->
    (maps:remove(ordered, parallel_table(pmap)))#{initial => {undefined, fun(_) -> true end, "any term"}}.

pool_table() ->
    #{
        size => {erlang:system_info(schedulers_online), fun is_size/1, "an integer from 1 to 1024"},
        python => {undefined, fun is_python/1, "a path, a name on PATH or {venv, Directory}"},
        python_path => {[], fun is_paths/1, "a list of directories"},
        env => {[], fun is_env/1, "a list of {Name, Value}, both strings, or {Name, false}"},
        cd => {undefined, fun is_path/1, "a directory"},
        on_start => {undefined, fun is_mfargs/1, "{Module, Function, Args}"},
        scheduler => {least_busy, fun is_scheduler/1, lists:join(" | ", schedulers() ++ ["{Module, Function}"])},
        call_timeout => {infinity, fun is_timeout/1, timeout_text()},
        start_timeout => {15_000, fun is_positive/1, "milliseconds, a positive integer"},
        kill_after => {1_000, fun is_natural/1, "milliseconds, a non-negative integer"},
        print_timeout => {5_000, fun is_positive/1, "milliseconds, a positive integer"},
        drain_timeout => {5_000, fun is_timeout/1, timeout_text()},
        max_queue => {infinity, fun is_timeout/1, "a number of calls, or infinity"},
        max_calls => {infinity, fun is_limit/1, "a positive number of calls, or infinity"},
        max_memory => {infinity, fun is_bytes/1, "bytes, at least 16777216 (16 MiB), or infinity"},
        event_loop => one_of(asyncio, [asyncio, uvloop]),
        callbacks => {all, fun is_callbacks/1, "all, none or a list of {Module, Function}"},
        restart => {restart_default(), fun is_restart/1, "a map with max, within, delay and max_delay"},
        encoders => {[], fun is_registrations/1, "a list of {'module.Class', {Module, Function}}"},
        decoders => {[], fun is_registrations/1, "a list of {Tag, {Module, Function}}"},
        strings => one_of(list, [list, binary]),
        dicts => one_of(tagged, [tagged, map]),
        haystack => one_of(false, [false, true]),
        frames => one_of(grid, [grid, columns, arrow]),
        matrices => one_of(false, [false, true]),
        arrays => one_of(opaque, [opaque, value, shared]),
        pickle => one_of(signed, [signed, any]),
        sandbox => one_of(none, [none, bwrap, docker]),
        io => {undefined, fun is_path/1, "a directory"},
        network => {none, fun is_network/1, "none, host or the name of a network of Docker's"},
        max_cpu_seconds => {infinity, fun is_limit/1, "seconds, a positive integer, or infinity"},
        max_processes => {infinity, fun is_processes/1, "processes and threads, at least 8, or infinity"},
        image => {"", fun is_word/1, "the name of an image, a string"},
        show_arguments => one_of(undefined, [undefined, cut, none, all]),
        log_level => one_of(warning, [debug, info, warning, error, critical])
    }.

%% What is about several workers or their calls is none of a session's.
session_pool_table() -> maps:without([size, scheduler, max_queue, max_calls, call_timeout, drain_timeout], pool_table()).

session_table() ->
    #{
        persistent => one_of(false, [false, true]),
        timeout => {300_000, fun is_timeout/1, timeout_text()},
        owner => {self(), fun is_pid/1, "a pid"},
        binaries => one_of(str, [str, bytes])
    }.

%% Five deaths within ten seconds are replaced at once or nearly so; then the delay doubles up to its maximum.
restart_default() -> #{max => 5, within => 10_000, delay => 50, max_delay => 30_000}.

one_of(Default, Values) -> {Default, Values, Values}.

timeout_text() -> "milliseconds, a non-negative integer, or infinity".

schedulers() -> ["least_busy", "round_robin", "random", "first", "youngest", "oldest"].

is_scheduler({Module, Function}) -> is_atom(Module) andalso is_atom(Function);
is_scheduler(Value) -> is_atom(Value) andalso lists:member(atom_to_list(Value), schedulers()).

is_limit(Value) -> Value =:= infinity orelse is_positive(Value).

%% Less is less than an interpreter that has loaded nothing needs.
is_bytes(Value) -> Value =:= infinity orelse (is_integer(Value) andalso Value >= ?LEAST_MEMORY).

is_timeout(Value) -> Value =:= infinity orelse is_natural(Value).

%% The longest time that a timer of the run-time system takes.
is_natural(Value) -> is_integer(Value) andalso Value >= 0 andalso Value =< 16#ffffffff.

is_positive(Value) -> is_natural(Value) andalso Value > 0.

is_count(Value) -> is_integer(Value) andalso Value >= 1 andalso Value =< 1_000.

is_count_of_items(Value) -> is_integer(Value) andalso Value >= 1.

is_progress(Value) -> is_boolean(Value) orelse is_function(Value, 1).

is_warm(Value) -> is_integer(Value) andalso Value >= 0 andalso Value =< 100.

%% The slots of a pool must do for the warm ones, too, and for those that are leaving.
is_max_sessions(Value) -> is_integer(Value) andalso Value >= 1 andalso Value =< 900.

is_size(Value) -> is_integer(Value) andalso Value >= 1 andalso Value =< ?MAX_WORKERS.

is_path(Value) -> is_binary(Value) orelse io_lib:printable_unicode_list(Value) orelse Value =:= undefined.

%% An interpreter with an event loop has four, and what made its box one.
is_processes(Value) -> Value =:= infinity orelse (is_natural(Value) andalso Value >= ?LEAST_PROCESSES).

is_network(Value) -> Value =:= none orelse Value =:= host orelse is_word(Value).

%% What can't be taken for an option of a command.
is_word(Value) ->
    is_list(Value) andalso re:run(Value, "^[A-Za-z0-9][A-Za-z0-9_.:/@-]*$", [{capture, none}, dollar_endonly]) =:= match.

is_paths(Value) -> is_list(Value) andalso lists:all(fun(Path) -> Path =/= undefined andalso is_path(Path) end, Value).

is_python({venv, Directory}) -> Directory =/= undefined andalso is_path(Directory);
is_python(Value) -> Value =/= [] andalso is_path(Value).

is_env(Value) ->
    is_list(Value) andalso
        lists:all(
            fun
                ({Name, false}) -> io_lib:printable_unicode_list(Name);
                ({Name, Text}) -> io_lib:printable_unicode_list(Name) andalso io_lib:printable_unicode_list(Text);
                (_) -> false
            end,
            Value
        ).

is_mfargs({Module, Function, Args}) ->
    py_term:is_name(Module) andalso py_term:is_name(Function) andalso is_proper(Args);
is_mfargs(Value) ->
    Value =:= undefined.

is_proper(List) when length(List) >= 0 -> true;
is_proper(_) -> false.

is_restart(Value) when is_map(Value) ->
    lists:all(
        fun({Key, Number}) -> is_map_key(Key, restart_default()) andalso is_natural(Number) end,
        maps:to_list(Value)
    );
is_restart(_) ->
    false.

is_callbacks(Value) when is_list(Value) ->
    lists:all(
        fun
            ({Module, Function}) -> is_atom(Module) andalso is_atom(Function);
            (_) -> false
        end,
        Value
    );
is_callbacks(Value) ->
    Value =:= all orelse Value =:= none.

is_registrations(Value) ->
    is_list(Value) andalso
        lists:all(
            fun
                ({Key, {Module, Function}}) -> lists:all(fun py_term:is_name/1, [Key, Module, Function]);
                (_) -> false
            end,
            Value
        ).
