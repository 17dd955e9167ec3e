%%% @doc The application's environment (`sys.config'), and bounds that hold for the whole node.
%%%
%%% ```
%%% {py, [{pools, [{default, #{size => 4}}, {ml, #{python => {venv, "/srv/ml"}, size => 2}}]}]}
%%% '''
%%%
%%% A pool `default' exists without any. What a pool may be given is in {@link py_pool_options}.
-module(py_config).

-export([pools/0, cluster/1, connection/1, push/1, environment/0, show_arguments/0]).
-export([max_new_atoms/0, max_sandbox_atoms/0, max_connection_atoms/0, max_shared_bytes/0, former_cookies/0]).
-export_type([pool_name/0, pool/0]).

-type pool_name() :: atom().
-type pool() :: py_pool_options:checked().

-define(MAX_NEW_ATOMS, 65_536).
-define(MAX_SANDBOX_ATOMS, 2_048).
-define(MAX_SESSION_ATOMS, 256).
%% Each costs 50 ms at the start.
-define(MOST_COOKIES, 3).
%% Where the system does not say how much memory it has.
-define(SHARED_BYTES, 1_073_741_824).

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

%% @doc The most atoms that one driver at a gateway may make, and all drivers together, while the node lives. They count as those of
%% {@link max_new_atoms/0}, too, of which half is left for what workers send.
-spec max_connection_atoms() -> #{connection | connections => pos_integer()}.
max_connection_atoms() -> #{connection => ?MAX_NEW_ATOMS div 8, connections => ?MAX_NEW_ATOMS div 2}.

%% @doc The most bytes that arrays in shared memory take, all together: `max_shared_bytes' of the application environment,
%% half of the machine's memory unless said otherwise. 0: there is no shared memory.
-spec max_shared_bytes() -> {ok, non_neg_integer()} | {error, {bad_config, term(), py_options:problem()}}.
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

%% @doc The cookies of before whose opaques this node still reads: `former_cookies' of the application environment. A message has none of them.
-spec former_cookies() -> {ok, [atom()]} | {error, {bad_config, py, py_options:problem()}}.
former_cookies() ->
    Cookies = application:get_env(py, former_cookies, []),
    case are_cookies(Cookies) of
        true -> {ok, Cookies};
        false -> {error, {bad_config, py, {bad_option, former_cookies, '...', "a list of three cookies at most, atoms"}}}
    end.

are_cookies(Cookies) when length(Cookies) =< ?MOST_COOKIES -> lists:all(fun is_atom/1, Cookies);
are_cookies(_) -> false.

%% @doc What is wrong with the rest of the application environment, and the keys in it that nobody knows.
-spec environment() -> {ok, Unknown :: [py_options:problem()]} | {error, {bad_config, py, py_options:problem()}}.
environment() ->
    case application:get_env(py, show_arguments, cut) of
        Given when Given =:= cut; Given =:= none; Given =:= all ->
            Keys = [Key || {Key, _} <- application:get_all_env(py), not lists:member(Key, [included_applications, start_failure])],
            {ok, [unknown(Key) || Key <- lists:sort(Keys) -- environment_keys()]};
        Other ->
            {error, {bad_config, py, {bad_option, show_arguments, Other, "cut | none | all"}}}
    end.

%% LFE py's own are told what became of them.
unknown(Key) ->
    case [New || {Old, New} <- lfe_py_keys(), Old =:= Key] of
        [New] -> {bad_option, Key, '...', ["given as ", New, ": it is LFE py's, see docs/lfe.md"]};
        [] -> {unknown_option, Key, environment_keys()}
    end.

lfe_py_keys() ->
    [
        {'worker-count', "the option size of a pool"},
        {'python-path', "the option python_path of a pool"},
        {'worker-on-start', "the option on_start of a pool"},
        {'scheduler-mod', "the option scheduler of a pool"},
        {'scheduler-func', "the option scheduler of a pool"},
        {'erlport-max-restarts', "the option restart of a pool"},
        {'erlport-restart-threshold', "the option restart of a pool"},
        {'erlport-shutdown-timeout', "the option drain_timeout of a pool"},
        {'log-level', "the level of logger"}
    ].

environment_keys() -> [environments, former_cookies, gateway, max_shared_bytes, page, pools, sessions, show_arguments, state_dir, style].

%% @doc What a stack shows of the arguments of a call where neither the call nor its pool says it: `show_arguments' of the
%% application environment.
-spec show_arguments() -> py_call_options:show_arguments().
show_arguments() ->
    case application:get_env(py, show_arguments, cut) of
        Given when Given =:= none; Given =:= all -> Given;
        _ -> cut
    end.

%% @doc The checked pools of the application environment, and `default', unless it is `none' there.
-spec pools() -> {ok, #{pool_name() => pool()}} | {error, {bad_config, term(), py_options:problem()}}.
pools() ->
    case application:get_env(py, pools, []) of
        List when is_list(List) -> pools(List, #{});
        Map when is_map(Map) -> pools(maps:to_list(Map), #{});
        Other -> {error, {bad_config, pools, {bad_option, pools, Other, "a list of {Name, Options}"}}}
    end.

pools([{Name, none} | Rest], Acc) when is_atom(Name) ->
    pools(Rest, Acc#{Name => none});
pools([{Name, Options} | Rest], Acc) when is_atom(Name) ->
    case py_pool_options:check(Options) of
        {ok, Pool} -> pools(Rest, Acc#{Name => Pool});
        {error, Problem} -> {error, {bad_config, Name, Problem}}
    end;
pools([], #{default := _} = Acc) ->
    {ok, maps:filter(fun(_, Pool) -> Pool =/= none end, Acc)};
pools([], Acc) ->
    {ok, Default} = py_pool_options:check(#{}),
    {ok, Acc#{default => Default}};
pools([Other | _], _) ->
    {error, {bad_config, pools, {bad_option, pools, Other, "{Name, Options}, Name an atom"}}}.

%% @doc The options of a start on another node, checked; `pools' as they came.
-spec cluster(term()) -> {ok, #{pools => term(), timeout := timeout(), upgrade := boolean()}} | {error, py_options:problem()}.
cluster(Options) ->
    Timeout = {Default, _} = {60_000, timeout},
    Table = #{
        timeout => Timeout,
        pools => {undefined, fun are_pools/1, "a list of {Name, Options}"},
        upgrade => {false, fun is_boolean/1, "true | false"}
    },
    case py_options:check(Options, [Table]) of
        {ok, Checked} -> {ok, maps:merge(#{timeout => Default, upgrade => false}, Checked)};
        Error -> Error
    end.

%% @doc The options of a connection to another node, checked.
-spec connection(term()) -> {ok, #{reconnect => boolean(), timeout := timeout()}} | {error, py_options:problem()}.
connection(Options) ->
    Table = #{timeout => {infinity, timeout}, reconnect => {undefined, fun is_boolean/1, "true | false"}},
    case py_options:check(Options, [Table]) of
        {ok, Checked} -> {ok, maps:merge(#{timeout => infinity}, Checked)};
        Error -> Error
    end.

%% @doc The options of a push, checked.
-spec push(term()) -> {ok, #{replace := boolean()}} | {error, py_options:problem()}.
push(Options) ->
    case py_options:check(Options, [#{replace => {false, fun is_boolean/1, "true | false"}}]) of
        {ok, Checked} -> {ok, maps:merge(#{replace => false}, Checked)};
        Error -> Error
    end.

are_pools(Pools) when is_list(Pools) -> element(1, pools(Pools, #{})) =:= ok;
are_pools(_) -> false.
