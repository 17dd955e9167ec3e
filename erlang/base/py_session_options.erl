%%% @doc The options of sessions: those of the application's environment, of one session, of one `eval', and what the workers of sessions
%%% are started with.
-module(py_session_options).

-export([configured/0, check/1, call/1, pool/0, box/2]).
-export_type([options/0, session/0, call_options/0]).

-type options() :: #{
    persistent => boolean(),
    timeout => timeout(),
    owner => pid(),
    idle => timeout(),
    output => fun((unicode:unicode_binary()) -> term()),
    input => fun((Prompt :: unicode:unicode_binary()) -> unicode:chardata() | eof),
    binaries => py_mapping:binaries(),
    atom() => term()
}.
%% And those of {@link py_pool_options:options()} that are about one interpreter.
-type session() :: #{persistent := boolean(), timeout := timeout(), owner := pid(), binaries := py_mapping:binaries(), atom() => term()}.
%% Checked and complete, but for `output' and `input'.
-type call_options() :: #{
    timeout => timeout(),
    show_arguments => py_call_options:show_arguments(),
    strings => py_mapping:strings(),
    dicts => py_mapping:dicts(),
    binaries => py_mapping:binaries(),
    none => py_mapping:no_value(),
    return => py_mapping:return() | display,
    haystack => boolean(),
    frames => py_mapping:frames(),
    matrices => boolean(),
    arrays => py_mapping:arrays()
}.

%% @doc The name of the pool that has the workers of sessions. Its size is that of the sessions' demand.
-spec pool() -> py_config:pool_name().
pool() -> py_sessions.

%% @doc The options of sessions in the application environment, checked: how many there may be, how many workers are kept
%% warm, and what a worker is started with.
-spec configured() ->
    {ok, #{warm := non_neg_integer(), max := pos_integer()}, py_pool_options:checked()}
    | {error, {bad_config, sessions, py_options:problem()}}.
configured() ->
    case session_workers() of
        {ok, Options} ->
            {ok, Pool} = of_session(maps:without([warm, max], Options)),
            {ok, maps:merge(py_options:defaults(of_application()), maps:with([warm, max], Options)), Pool};
        {error, Problem} ->
            {error, {bad_config, sessions, Problem}}
    end.

session_workers() ->
    Given = application:get_env(py, sessions, #{}),
    case py_options:check(py_options:from_list(Given), [of_application(), of_interpreters()]) of
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
    case py_pool_options:check(maps:merge(#{haystack => true}, Options)) of
        {ok, #{on_start := undefined} = Pool} -> {ok, Pool#{size := 0, scheduler := none, on_start := prepared()}};
        {ok, Pool} -> {ok, Pool#{size := 0, scheduler := none}};
        Error -> Error
    end.

%% What a session needs is loaded before somebody waits for it.
prepared() -> {'erl.calls.session', prepare, []}.

%% @doc The options of one session, checked, and what its worker is started with: they stand before those of the
%% application environment.
-spec check(term()) -> {ok, session(), py_pool_options:checked()} | {error, py_options:problem()}.
check(Given) ->
    Own = own(),
    case py_options:check(py_options:from_list(Given), [Own, of_interpreters()]) of
        {ok, Options} ->
            case session_workers() of
                {ok, Configured} ->
                    Workers = maps:merge(of_worker(Configured, Options), maps:without(maps:keys(Own), Options)),
                    case of_session(Workers) of
                        {ok, Pool} ->
                            Defaults = py_options:defaults(maps:without([output, input], Own)),
                            {ok, maps:merge(Defaults, maps:with(maps:keys(Own), Options)), asking(Options, Pool)};
                        Error -> Error
                    end;
                Error ->
                    Error
            end;
        Error ->
            Error
    end.

%% What Python calls for a line of input, in a box, too.
asking(#{input := _}, #{callbacks := Callbacks} = Pool) when Callbacks =/= all ->
    Pool#{callbacks := [{py_session_io, line} | if Callbacks =:= none -> []; true -> Callbacks end]};
asking(_Options, Pool) ->
    Pool.

%% What of the application's environment is a session's that was given these options: who says that there is to be no sandbox
%% has nothing to say about what it would have been.
of_worker(Configured, #{sandbox := none}) -> maps:without([warm, max | py_pool_options:only_boxed()], Configured);
of_worker(Configured, _Options) -> maps:without([warm, max], Configured).

%% @doc What these options of a session say about its box and what it may do, as that of a worker with these options has it.
-spec box(options() | [{atom(), term()}], py_pool_options:checked()) -> #{atom() => term()}.
box(Given, Config) -> maps:with([Key || Key <- [sandbox | maps:keys(py_pool_options:sandbox_defaults())], is_map_key(Key, py_options:from_list(Given))], Config).

%% @doc The options of one `eval', checked.
-spec call(term()) -> {ok, call_options()} | {error, py_options:problem()}.
call(#{return := display} = Options) ->
    case call(maps:remove(return, Options)) of
        {ok, Checked} -> {ok, Checked#{return => display}};
        Error -> Error
    end;
call(Options) ->
    py_options:check(Options, [py_call_options:times(), py_mapping:table()]).

of_application() ->
    #{
        warm => {2, fun is_warm/1, "a number of workers, 0 to 100"},
        max => {100, fun is_max_sessions/1, "a number of sessions, 1 to 900"}
    }.

%% What is about several workers or their calls is none of a session's.
of_interpreters() ->
    maps:without(
        [size, scheduler, max_queue, max_calls, recycle, call_timeout, drain_timeout, threads, coroutines], py_pool_options:table()
    ).

own() ->
    maps:merge(maps:with([binaries], py_mapping:table()), #{
        persistent => [false, true],
        timeout => {300_000, timeout},
        owner => {self(), pid, "a pid"},
        idle => {infinity, timeout},
        output => {undefined, fun(Fun) -> is_function(Fun, 1) end, "a fun of a text"},
        input => {undefined, fun(Fun) -> is_function(Fun, 1) end, "a fun of a prompt"}
    }).

is_warm(Value) -> is_integer(Value) andalso Value >= 0 andalso Value =< 100.

%% The slots of a pool must do for the warm ones, too, and for those that are leaving.
is_max_sessions(Value) -> is_integer(Value) andalso Value >= 1 andalso Value =< 900.
