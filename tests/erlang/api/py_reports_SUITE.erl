%%% What logs say of failures: enough to find them, little of what was passed, nothing of what is secret.
-module(py_reports_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([log/2]).
-export([
    a_process_that_crashes_with_large_arguments_makes_a_short_report/1,
    each_function_shows_little_of_large_arguments/1,
    error_info_says_what_is_wrong_beside_large_arguments/1,
    no_argument_is_shown_where_a_call_a_pool_or_the_application_says_so/1,
    no_function_of_ours_stands_below_the_api/1,
    a_python_that_lacks_erlang_py_is_told_once/1,
    the_doctor_says_what_is_missing/1,
    a_key_that_is_misspelled_is_told_with_the_nearest/1,
    the_environment_of_a_pool_is_in_no_report/1,
    what_a_session_holds_is_in_no_report/1,
    the_environment_of_an_instance_of_erlport_is_in_no_report/1
]).

-define(LARGE_BYTES, 2_097_152).
%% Of the report of one process with everything that the run-time system says of it.
-define(MOST_CHARACTERS, 12_000).
-define(SECRET, "s3cr3t-0123456789").

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        a_process_that_crashes_with_large_arguments_makes_a_short_report,
        each_function_shows_little_of_large_arguments,
        error_info_says_what_is_wrong_beside_large_arguments,
        no_argument_is_shown_where_a_call_a_pool_or_the_application_says_so,
        no_function_of_ours_stands_below_the_api,
        a_python_that_lacks_erlang_py_is_told_once,
        the_doctor_says_what_is_missing,
        a_key_that_is_misspelled_is_told_with_the_nearest,
        the_environment_of_a_pool_is_in_no_report,
        what_a_session_holds_is_in_no_report,
        the_environment_of_an_instance_of_erlport_is_in_no_report
    ].

init_per_testcase(_Case, Config) ->
    py_application:start([{default, #{size => 1}}]),
    Said = ets:new(said, [public, ordered_set]),
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, debug),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => Said, level => debug, filters => []}),
    [{said, Said}, {level, Level} | Config].

end_per_testcase(_Case, Config) ->
    ok = logger:remove_handler(?MODULE),
    ok = logger:set_primary_config(level, ?config(level, Config)),
    application:unset_env(py, show_arguments),
    py_application:stop_sessions().

%% As a handler of `logger': everything at all levels, formatted in full.
log(Event, #{config := Said}) ->
    Text = unicode:characters_to_list(logger_formatter:format(Event, #{single_line => false})),
    ets:insert(Said, {erlang:unique_integer([monotonic]), Text}).

%% What was said while `Fun' ran and until a report has come that has these words.
reported(Words, Config, Fun) ->
    Said = ?config(said, Config),
    ets:delete_all_objects(Said),
    Fun(),
    py_eventually:holds(fun() -> string:find(said(Said), Words) =/= nomatch end),
    said(Said).

said(Said) -> lists:append([Text || {_, Text} <- ets:tab2list(Said)]).

ended(Spawn) ->
    {Pid, Monitor} = Spawn(),
    receive {'DOWN', Monitor, process, Pid, Reason} -> Reason end.

large() -> binary:copy(<<0>>, ?LARGE_BYTES).

a_process_that_crashes_with_large_arguments_makes_a_short_report(Config) ->
    Bytes = large(),
    Numbers = lists:seq(1, 200_000),
    Calls = [
        fun() -> py:func(math, sqrt, [{bytes, Bytes}]) end,
        fun() -> py:func(math, sqrt, [Numbers]) end,
        fun() -> py:func(math, sqrt, [], [{text, Bytes}]) end,
        fun() -> py:func(math, sqrt, [maps:from_list([{N, N} || N <- Numbers])]) end
    ],
    [
        begin
            Shown = reported("builtins.", Config, fun() -> {{python, _, _, _}, _} = ended(fun() -> Spawn(Call) end) end),
            ?assert(string:length(Shown) < ?MOST_CHARACTERS, string:slice(Shown, 0, 2_000)),
            ?assertNotEqual(nomatch, string:find(Shown, "func"))
        end
     || Call <- Calls, Spawn <- [fun erlang:spawn_monitor/1, fun linked/1]
    ].

%% As `gen_server' and others start their processes: their reports have more in them.
linked(Call) ->
    Pid = proc_lib:spawn(Call),
    {Pid, monitor(process, Pid)}.

each_function_shows_little_of_large_arguments(_Config) ->
    Bytes = {bytes, large()},
    Session = py_session:open(),
    Stream = py:stream(builtins, iter, [[1]]),
    Cases = [
        {func, fun() -> py:func(math, sqrt, [Bytes]) end},
        {func, fun() -> py:func('math.sqrt', [Bytes]) end},
        {init, fun() -> py:init(fractions, 'Fraction', [Bytes]) end},
        {method, fun() -> py:method(Bytes, nothing, []) end},
        {attr, fun() -> py:attr(Bytes, nothing) end},
        {pycall, fun() -> py:pycall(math, sqrt, [large()]) end},
        {add, fun() -> py:add(Bytes, 1) end},
        {int, fun() -> py:int(Bytes, [{base, 77}]) end},
        {call_all, fun() -> py:call_all(math, sqrt, {no, Bytes}) end},
        {async, fun() -> py:async(math, sqrt, [Bytes], #{tea => 1}) end},
        {scatter, fun() -> py:scatter(math, sqrt, [[Bytes]], #{tea => 1}) end},
        {gather, fun() -> py:gather([Bytes]) end},
        {await, fun() -> py:await(Bytes) end},
        {pmap, fun() -> py:pmap(math, sqrt, [Bytes]) end},
        {preduce, fun() -> py:preduce(operator, truediv, [Bytes, 1]) end},
        {release, fun() -> py:release(Bytes) end},
        {stream, fun() -> py:stream(math, sqrt, [1], #{tea => Bytes}) end},
        {stream_next, fun() -> py:stream_next(Bytes) end},
        {stream_fold, fun() -> py:stream_fold(Bytes, 0, Stream) end},
        {eval, fun() -> py_session:eval(Session, ["1 / 0\n", binary:copy(<<"#">>, ?LARGE_BYTES)]) end},
        {define, fun() -> py_session:define(py_session:close(py_session:open()), tea, Bytes) end},
        {exec, fun() -> py_session:exec(Session, Bytes) end}
    ],
    [
        try Call() of
            _ -> ct:fail({Name, passed})
        catch
            error:undef ->
                ct:fail({Name, undef});
            error:_:Stack ->
                [{_, Top, Args, _} | _] = Stack,
                ?assertEqual(Name, Top),
                %% Whatever this says is small where it holds.
                Length = erlang:external_size(Args),
                ?assert(Length < ?MOST_CHARACTERS, {Name, Length}),
                ?assert(string:length(io_lib:format("~p", [Stack])) < ?MOST_CHARACTERS, Name)
        end
     || {Name, Call} <- Cases
    ],
    %% What they fail with is short, too; a handle keeps its own arguments.
    Handle = py:async(math, sqrt, [Bytes]),
    try py:await(Handle) of _ -> ct:fail(passed)
    catch error:{python, _, _, _}:Stack -> ?assert(string:length(io_lib:format("~p", [Stack])) < ?MOST_CHARACTERS)
    end,
    ok = py:stream_close(Stream).

error_info_says_what_is_wrong_beside_large_arguments(_Config) ->
    try py:func(math, sqrt, [{bytes, large()}], #{timeout => large()}) of _ -> ct:fail(passed)
    catch
        error:badarg:Stack ->
            [{py, func, Args, Info} | _] = Stack,
            ?assertMatch([math, sqrt, [{bytes, <<"... (2097152 bytes)">>}], #{timeout := <<"... (2097152 bytes)">>}], Args),
            ?assertMatch({error_info, #{module := py_error}}, lists:keyfind(error_info, 1, Info)),
            #{4 := Why} = py_error:format_error(badarg, Stack),
            ?assertMatch(<<"option timeout must be milliseconds", _/binary>>, Why),
            ?assert(byte_size(Why) < 400)
    end.

no_argument_is_shown_where_a_call_a_pool_or_the_application_says_so(Config) ->
    Silent = fun(Options) ->
        Shown = reported("builtins.TypeError", Config, fun() ->
            ended(fun() -> spawn_monitor(fun() -> py:func(math, sqrt, [<<?SECRET>>], Options) end) end)
        end),
        ?assertNotEqual(nomatch, string:find(Shown, "func")),
        string:find(Shown, ?SECRET) =:= nomatch
    end,
    ?assertNot(Silent(#{})),
    ?assert(Silent(#{show_arguments => none})),
    {ok, _} = py:start_pool(silent, #{size => 1, show_arguments => none}),
    ?assert(Silent(#{pool => silent})),
    ?assertNot(Silent(#{pool => silent, show_arguments => cut})),
    application:set_env(py, show_arguments, none),
    ?assert(Silent(#{})),
    ?assertError(badarg, py:func(math, sqrt, [2], #{show_arguments => some})),
    Whole = large(),
    try py:func(math, sqrt, [Whole], #{show_arguments => all}) of _ -> ct:fail(passed)
    catch error:_:Stack ->
        [{py, func, [math, sqrt, [Shown], _], _} | _] = Stack,
        ?assertEqual(Whole, Shown)
    end.

no_function_of_ours_stands_below_the_api(_Config) ->
    Calls = [
        {resize, fun() -> py:resize(default, 0) end},
        {start_pool, fun() -> py:start_pool(tea, #{sise => 1}) end},
        {workers, fun() -> py:workers(nowhere) end},
        {stop, fun() -> py:stop(soon) end},
        {func, fun() -> py:func(math, sqrt, [a]) end},
        {add, fun() -> py:add(1, a) end},
        {sorted, fun() -> py:sorted([1, a]) end},
        {pmap, fun() -> py:pmap(math, sqrt, [a]) end},
        {with_worker, fun() -> py:with_worker(1) end},
        {func, fun() -> py:with_worker(fun() -> {py:func(math, sqrt, [a])} end) end},
        {eval, fun() -> py_session:eval(py_session:open(), "1 / 0") end},
        {fork, fun() -> py_session:fork(py_session:close(py_session:open())) end},
        {source, fun() -> py:source(1) end},
        {value, fun() -> py:value({'$py.shm', {node(), <<"x">>, {0, 1}, bytes}}) end}
    ],
    {ok, Ours} = application:get_key(py, modules),
    Api = [py, 'py-util', py_session, py_cluster, py_erlport],
    [
        try Call() of
            _ -> ct:fail({Name, passed})
        catch
            error:_:Stack ->
                [{_, Top, _, _} | _] = Stack,
                ?assertEqual(Name, Top),
                ?assertEqual({Name, []}, {Name, [M || {M, _, _, _} <- Stack, lists:member(M, Ours -- Api)]}),
                ?assert(lists:keymember(?MODULE, 1, Stack))
        end
     || {Name, Call} <- Calls
    ].

%%% A start that fails

a_python_that_lacks_erlang_py_is_told_once(Config) ->
    Bare = #{size => 3, python => {venv, py_venv:bare(Config)}, env => [{"PYTHONPATH", false}]},
    Said = ?config(said, Config),
    %% A pool: whoever starts it is told.
    ets:delete_all_objects(Said),
    ?assertMatch({error, {py, {start, bare, {start, {failed, _, _}}}}}, py:start_pool(bare, Bare)),
    ?assertEqual([], [Text || {_, Text} <- ets:tab2list(Said), is_loud(Text)]),
    ?assertError({py, {unknown_pool, bare}}, py:workers(bare)),
    %% It leaves nothing in the way.
    {ok, _} = py:start_pool(bare, #{size => 1}),
    %% The application: in the log, once.
    {ok, stopped} = py:stop(),
    application:set_env(py, pools, [{default, Bare}]),
    ets:delete_all_objects(Said),
    Result = py:start(),
    ?assertMatch({error, {py, {start, default, {start, {failed, _, _}}}}}, Result),
    Loud = [Text || {_, Text} <- ets:tab2list(Said), is_loud(Text)],
    ?assertMatch([_], Loud),
    ?assertNotEqual(nomatch, string:find(hd(Loud), "-m pip install erlang-py")),
    ?assertEqual([], [Text || {_, Text} <- ets:tab2list(Said), string:find(Text, "next start") =/= nomatch]),
    ?assertEqual(Result, py:start()),
    %% Who starts it as OTP does gets OTP's error.
    ?assertMatch({error, {{py, {start, default, _}}, {py_app, start, _}}}, application:start(py)).

is_loud(Text) -> lists:any(fun(Word) -> string:find(Text, Word) =/= nomatch end, ["erlang-py", "CRASH", "crasher", "SUPERVISOR"]).

the_doctor_says_what_is_missing(Config) ->
    Bare = py_venv:bare(Config),
    Well = doctor(),
    [
        ?assertNotEqual(nomatch, string:find(Well, Word), Well)
     || Word <- ["Erlang/OTP", "running", "pool default", "Python 3.", "erlang-py ", "codec "]
    ],
    ?assertEqual(nomatch, string:find(Well, "! ")),
    {ok, stopped} = py:stop(),
    application:set_env(py, pools, [
        {default, #{python => {venv, Bare}, env => [{"PYTHONPATH", false}]}}, {ml, #{python => "/no/python"}}
    ]),
    Ill = doctor(),
    [
        ?assertNotEqual(nomatch, string:find(Ill, Word), Ill)
     || Word <- ["not started", "pool default", "! erlang-py is missing", "-m pip install erlang-py", "pool ml", "! no executable /no/python"]
    ],
    application:set_env(py, pools, [{default, #{sise => 2}}]),
    ?assertNotEqual(nomatch, string:find(doctor(), "! the configuration of pool default: unknown option sise")),
    application:set_env(py, pools, [{default, #{size => 1}}]).

a_key_that_is_misspelled_is_told_with_the_nearest(Config) ->
    {ok, stopped} = py:stop(),
    Keys = [max_shared_byte, 'worker-count'],
    [application:set_env(py, Key, 1) || Key <- Keys],
    try
        Shown = reported("worker-count", Config, fun() -> {ok, started} = py:start() end),
        [
            ?assertNotEqual(nomatch, string:find(Shown, Words))
         || Words <- ["unknown option max_shared_byte (did you mean max_shared_bytes?)", "option 'worker-count' must be given as the option size of a pool"]
        ],
        ?assertNotEqual(nomatch, string:find(doctor(), "! unknown option max_shared_byte (did you mean")),
        {ok, stopped} = py:stop(),
        application:set_env(py, show_arguments, some),
        ?assertMatch({error, {py, {bad_config, py, {bad_option, show_arguments, some, _}}}}, py:start())
    after
        [application:unset_env(py, Key) || Key <- [show_arguments | Keys]]
    end.

doctor() -> unicode:characters_to_list(py_doctor:report(py_admin:versions())).

%%% What processes of ours say when they fail

%% A fault of ours, in any of them: each says all that it holds.
the_environment_of_a_pool_is_in_no_report(Config) ->
    Options = #{size => 1, env => [{"TOKEN", ?SECRET}], on_start => {operator, add, [<<?SECRET>>, <<"x">>]}},
    Shown = reported("terminating", Config, fun() ->
        {ok, _} = py:start_pool(tea, Options),
        {ok, Pool} = py_registry:pool_process(tea),
        [#{worker := Worker}] = py:workers(tea),
        %% What has gone wrong in a call of it is not told with the call.
        _ = spawn(fun() -> py:func(time, sleep, [0.2], #{pool => tea}) end),
        ok = sys:terminate(Worker, {a, fault}),
        py_eventually:holds(fun() -> [W || #{worker := W, state := serving} <- py:workers(tea), W =/= Worker] =/= [] end),
        ok = sys:terminate(Pool, {a, fault}),
        py_eventually:holds(fun() -> [1 || #{state := serving} <- py:workers(tea)] =/= [] end),
        {error, _} = py:start_pool(bad, Options#{python => "/no/python"}),
        {error, _} = py:start_pool(worse, Options#{on_start => {operator, truediv, [<<?SECRET>>, 0]}}),
        ?assertError(badarg, py:start_pool(tea, Options#{env => [{"TOKEN", {<<?SECRET>>}}]}))
    end),
    ?assertEqual(?SECRET, py:func(os, getenv, [<<"TOKEN">>], #{pool => tea})),
    ?assertEqual([], lines_with_the_secret(Shown)),
    try py:start_pool(tea, Options#{env => [{"TOKEN", {<<?SECRET>>}}]}) of _ -> ct:fail(passed)
    catch error:badarg:Stack ->
        ?assertEqual([], lines_with_the_secret(lists:flatten(io_lib:format("~p ~p", [Stack, py_error:format_error(badarg, Stack)]))))
    end.

lines_with_the_secret(Text) -> [Line || Line <- string:split(Text, "\n", all), string:find(Line, ?SECRET) =/= nomatch].

what_a_session_holds_is_in_no_report(Config) ->
    Shown = reported("terminating", Config, fun() ->
        Session = {_, Pid} = py_session:open(#{persistent => true, env => [{"TOKEN", ?SECRET}]}),
        "ok" = py_session:eval(py_session:define(Session, token, <<?SECRET>>), "'ok'"),
        {_, Fork} = py_session:fork(Session),
        py_session:define(Session, data, binary:copy(<<?SECRET>>, 100_000)),
        ok = sys:terminate(Fork, {a, fault}),
        ok = sys:terminate(Pid, {a, fault})
    end),
    %% What waits to be sent was passed like an argument: it is cut. All else is nobody's to read.
    ?assert(length(lines_with_the_secret(Shown)) < 5, lines_with_the_secret(Shown)),
    ?assert(string:length(Shown) < 400_000).

the_environment_of_an_instance_of_erlport_is_in_no_report(Config) ->
    Shown = reported("terminating", Config, fun() ->
        {ok, Instance} = py_erlport:start([{env, [{"TOKEN", ?SECRET}]}, {python, python()}]),
        ?assertEqual(<<?SECRET>>, py_erlport:call(Instance, os, 'environb.get', [<<"TOKEN">>])),
        ok = sys:terminate(Instance, {a, fault})
    end),
    ?assertEqual([], lines_with_the_secret(Shown)),
    {ok, Gone} = py_erlport:start([{python, python()}]),
    ok = py_erlport:stop(Gone),
    Large = large(),
    try py_erlport:call(Gone, math, sqrt, [Large]) of _ -> ct:fail(passed)
    catch
        exit:{noproc, _} = Reason:_ -> ?assert(string:length(io_lib:format("~p", [Reason])) < ?MOST_CHARACTERS)
    end.

python() ->
    {ok, Pool} = py_pool_options:check(#{}),
    {ok, _, Python} = py_launcher:find(Pool),
    Python.
