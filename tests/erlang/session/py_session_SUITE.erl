%%% Sessions: the cases of the manual that they come from, what they promise, and every way in which one can end.
-module(py_session_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_product_is_evaluated_and_the_session_closed/1,
    a_task_squares_what_it_is_sent/1,
    a_file_is_written_and_read/1,
    definitions_are_sent_in_order_with_the_next_eval/1,
    a_block_has_the_value_of_its_last_line/1,
    a_top_level_await_works/1,
    values_are_mapped_as_in_calls/1,
    what_has_a_form_is_a_value/1,
    a_value_can_stay_in_python/1,
    what_is_printed_appears_where_the_caller_prints/1,
    python_code_calls_erlang/1,
    a_wrong_argument_is_badarg/1,
    an_exception_marks_its_line_and_ends_nothing/1,
    after_a_failure_nothing_is_sent_twice/1,
    a_syntax_error_marks_its_line/1,
    a_deadline_interrupts_and_the_namespace_stays/1,
    a_deadline_that_can_not_interrupt_restarts/1,
    a_deadline_holds_while_another_has_the_turn/1,
    a_python_that_dies_is_replaced_and_init_runs_again/1,
    a_python_that_dies_between_two_evals_is_told/1,
    a_killed_worker_process_is_replaced/1,
    a_worker_that_is_taken_away_is_replaced/1,
    a_pool_that_is_stopped_comes_back/1,
    a_large_namespace_stays/1,
    one_that_dies_again_and_again_says_that_it_is_down/1,
    init_runs_once_and_before_the_rest/1,
    init_may_evaluate/1,
    an_init_that_fails_runs_again/1,
    a_caller_that_dies_gives_its_turn_back/1,
    a_closed_session_says_so/1,
    closing_ends_what_runs/1,
    a_session_ends_with_its_owner/1,
    a_killed_session_leaves_nothing/1,
    a_killed_supervisor_leaves_nothing/1,
    callers_take_turns/1,
    own_is_one_session_a_process/1,
    no_two_sessions_share_an_interpreter/1,
    options_of_a_pool_are_options_of_a_session/1,
    a_worker_that_does_not_start_is_told/1,
    as_many_sessions_as_the_application_allows/1,
    a_session_starts_from_a_warm_worker/1,
    no_session_starts_no_python/1,
    a_wrong_configuration_stops_the_start/1,
    no_call_gets_a_sessions_worker/1,
    a_fork_has_what_pickles/1,
    a_fork_that_is_restarted_runs_init/1,
    sessions_are_listed/1,
    a_stopped_application_has_no_sessions/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        a_product_is_evaluated_and_the_session_closed,
        a_task_squares_what_it_is_sent,
        a_file_is_written_and_read,
        definitions_are_sent_in_order_with_the_next_eval,
        a_block_has_the_value_of_its_last_line,
        a_top_level_await_works,
        values_are_mapped_as_in_calls,
        what_has_a_form_is_a_value,
        a_value_can_stay_in_python,
        what_is_printed_appears_where_the_caller_prints,
        python_code_calls_erlang,
        a_wrong_argument_is_badarg,
        an_exception_marks_its_line_and_ends_nothing,
        after_a_failure_nothing_is_sent_twice,
        a_syntax_error_marks_its_line,
        a_deadline_interrupts_and_the_namespace_stays,
        a_deadline_that_can_not_interrupt_restarts,
        a_deadline_holds_while_another_has_the_turn,
        a_python_that_dies_is_replaced_and_init_runs_again,
        a_python_that_dies_between_two_evals_is_told,
        a_killed_worker_process_is_replaced,
        a_worker_that_is_taken_away_is_replaced,
        a_pool_that_is_stopped_comes_back,
        a_large_namespace_stays,
        one_that_dies_again_and_again_says_that_it_is_down,
        init_runs_once_and_before_the_rest,
        init_may_evaluate,
        an_init_that_fails_runs_again,
        a_caller_that_dies_gives_its_turn_back,
        a_closed_session_says_so,
        closing_ends_what_runs,
        a_session_ends_with_its_owner,
        a_killed_session_leaves_nothing,
        a_killed_supervisor_leaves_nothing,
        callers_take_turns,
        own_is_one_session_a_process,
        no_two_sessions_share_an_interpreter,
        options_of_a_pool_are_options_of_a_session,
        a_worker_that_does_not_start_is_told,
        as_many_sessions_as_the_application_allows,
        a_session_starts_from_a_warm_worker,
        no_session_starts_no_python,
        a_wrong_configuration_stops_the_start,
        no_call_gets_a_sessions_worker,
        a_fork_has_what_pickles,
        a_fork_that_is_restarted_runs_init,
        sessions_are_listed,
        a_stopped_application_has_no_sessions
    ].

init_per_testcase(Case, Config) when
    Case =:= as_many_sessions_as_the_application_allows; Case =:= a_wrong_configuration_stops_the_start
->
    Config;
init_per_testcase(_, Config) ->
    configured(#{warm => 1}),
    ok = py_application:start([{default, #{size => 1}}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop_sessions().

configured(Sessions) ->
    _ = application:load(py),
    application:set_env(py, sessions, Sessions).

%%% The manual's cases

a_product_is_evaluated_and_the_session_closed(_Config) ->
    Session = py_session:open(),
    ?assertEqual(
        200,
        py_session:eval(
            py_session:exec(
                py_session:define(py_session:define(py_session:timeout(Session, 10_000), "a", 100), "b", 2),
                "def mult(x, y): return x * y\n"
            ),
            "mult(a, b)"
        )
    ),
    ?assertMatch(#{state := closed}, py_session:status(Session)),
    ?assertError({py, session_closed}, py_session:eval(Session, "1")).

a_task_squares_what_it_is_sent(_Config) ->
    Test = self(),
    Task = spawn_link(fun() -> task(Test) end),
    Answers = [
        begin
            Task ! {square, V},
            receive {squared, Answer} -> Answer end
        end
     || V <- [2, 3, 4]
    ],
    ?assertEqual([4, 9, 16], [Squared || {Squared, _} <- Answers]),
    [OsPid] = lists:usort([Pid || {_, Pid} <- Answers]),
    ?assert(py_os_process:alive(OsPid)),
    ?assertEqual([init], [init || init <- py_application:messages()]),
    unlink(Task),
    exit(Task, kill),
    py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end).

task(Test) ->
    receive
        {square, V} ->
            Session = py_session:own(),
            py_session:init(Session, fun(S) ->
                Test ! init,
                py_session:exec(S, "def sq(x): return x * x\n")
            end),
            Squared = py_session:eval(py_session:define(Session, v, V), "sq(v)"),
            Test ! {squared, {Squared, maps:get(os_pid, py_session:status(Session))}},
            task(Test)
    end.

a_file_is_written_and_read(Config) ->
    Directory = ?config(priv_dir, Config),
    Session = py_session:open(#{cd => Directory}),
    undefined = py_session:eval(
        py_session:exec(
            Session,
            "def ioTest():\n"
            "    with open(\"example.txt\", \"w\") as f:\n"
            "        f.write(\"Testing IO Example\")\n"
        ),
        "ioTest()"
    ),
    ?assertEqual({ok, <<"Testing IO Example">>}, file:read_file(filename:join(Directory, "example.txt"))).

%%% What is sent

definitions_are_sent_in_order_with_the_next_eval(_Config) ->
    Session = py_session:open(#{persistent => true}),
    py_session:exec(py_session:define(Session, x, 1), "trail = [x]"),
    py_session:exec(py_session:define(Session, x, 2), "trail.append(x)"),
    ?assertMatch(#{pending := 4, calls := 0}, py_session:status(Session)),
    ?assertEqual([1, 2], py_session:eval(Session, "trail")),
    ?assertMatch(#{pending := 0, calls := 1}, py_session:status(Session)),
    ?assertEqual(Session, py_session:sync(py_session:exec(Session, "trail.append(3)"))),
    ?assertEqual([1, 2, 3], py_session:eval(Session, <<"trail">>)).

a_block_has_the_value_of_its_last_line(_Config) ->
    Session = py_session:open(#{persistent => true}),
    ?assertEqual(3, py_session:eval(Session, "x = 1\ny = 2\nx + y")),
    ?assertEqual(undefined, py_session:eval(Session, "x = 1")),
    ?assertEqual(undefined, py_session:eval(Session, "")),
    ?assertEqual(undefined, py_session:eval(Session, "# nothing")),
    ?assertEqual(2, py_session:eval(Session, "\n    if x:\n        y = x + 1\n    y\n")),
    ?assertEqual([1, 2], py_session:eval(Session, ["[x, ", <<"y]">>])),
    ?assertEqual([228], py_session:eval(Session, "'ä'")).

a_top_level_await_works(_Config) ->
    Session = py_session:open(#{persistent => true}),
    py_session:exec(Session, "import asyncio\nasync def tea(): await asyncio.sleep(0.001); return 'green'"),
    ?assertEqual("green", py_session:eval(Session, "await tea()")),
    ?assertEqual("green", py_session:eval(Session, "tea()")),
    ?assertEqual(["green", "green"], py_session:eval(Session, "both = await asyncio.gather(tea(), tea())\nboth")),
    %% What was begun in one await goes on in the next.
    undefined = py_session:eval(Session, "async def begin(): global later; later = asyncio.ensure_future(tea())\nawait begin()"),
    ?assertEqual("green", py_session:eval(Session, "await later")),
    ?assertEqual(6, py_session:eval(Session, "import erl\nawait erl.acall('lists', 'sum', [[1, 2, 3]])")),
    ?assertError({py, timeout}, py_session:eval(Session, "await asyncio.sleep(60)", #{timeout => 100})),
    ?assertMatch(#{restarts := 0}, py_session:status(Session)),
    ?assertEqual("green", py_session:eval(Session, "await tea()")).

values_are_mapped_as_in_calls(_Config) ->
    Session = py_session:open(#{persistent => true, dicts => map}),
    Shown = fun(Value) -> py_session:eval(py_session:define(Session, v, Value), "repr(v)", #{strings => binary}) end,
    ?assertEqual(<<"'tea'">>, Shown(<<"tea">>)),
    ?assertEqual(<<"b'tea'">>, Shown({bytes, <<"tea">>})),
    ?assertEqual(<<"[116, 101, 97]">>, Shown("tea")),
    ?assertEqual(<<"datetime.date(2026, 2, 3)">>, Shown({"date", {2026, 2, 3}})),
    ?assertEqual(#{"a" => 1}, py_session:eval(Session, "{'a': 1}")),
    ?assertEqual({"dict", [{"a", 1}]}, py_session:eval(Session, "{'a': 1}", #{dicts => tagged})),
    Raw = py_session:open(#{binaries => bytes}),
    ?assertEqual("bytes", py_session:eval(py_session:define(Raw, v, <<"tea">>), "type(v).__name__")),
    %% A class of the session's comes back as what it was.
    Cup = py_session:eval(Session, "class Cup:\n    size = 3\nCup()"),
    ?assertMatch({'$erlport.opaque', python, _}, Cup),
    ?assertEqual(true, py_session:eval(py_session:define(Session, cup, Cup), "type(cup) is Cup")),
    ?assertError({py, {decode, _}}, py_session:eval(py_session:define(Session, v, <<255>>), "v")),
    ?assertError({py, {encode, _}}, py_session:eval(Session, "l = []\nl.append(l)\nl")),
    ?assertEqual(3, py_session:eval(Session, "1 + 2")).

%% No Python but the session's can read its pickles, and most sessions end with their first value.
what_has_a_form_is_a_value(_Config) ->
    Session = py_session:open(#{persistent => true, strings => binary, dicts => map}),
    Same = fun(Value) -> ?assertEqual(Value, py_session:eval(py_session:define(Session, v, Value), "v")) end,
    [Same(Value) || Value <- [{number, 21, <<"kW">>}, {py, marker}, {ref, <<"a">>, undefined}, {uri, <<"http://tea">>}]],
    ?assertEqual(42, py_session:eval(py_session:define(Session, v, {number, 21, <<"kW">>}), "v * 2")),
    ?assertEqual({number, 21, <<"kW">>}, py_session:eval(Session, "max(v, 3)")),
    ?assertEqual(
        {grid, #{meta => #{}, cols => [#{name => <<"a">>, meta => #{}}], rows => [[1]]}},
        py_session:eval(Session, "from erl.haystack import Grid\nGrid(['a'], [[1]])")
    ),
    case py_session:eval(Session, "import importlib.util\nimportlib.util.find_spec('numpy') is not None") of
        true ->
            Ones = <<1.0:64/float-little, 0.0:64/float-little, 0.0:64/float-little, 1.0:64/float-little>>,
            ?assertEqual(
                {"ndarray", {"<f8", {2, 2}, Ones}},
                py_session:eval(Session, "import numpy as np\nnp.eye(2)", #{strings => list})
            ),
            ?assertEqual(11.75, py_session:eval(Session, "float(np.mean([v, 2.5]))")),
            ?assertEqual([<<"a">>, <<"b">>], py_session:eval(Session, "list(np.array(['a', 'b']))"));
        false ->
            ok
    end,
    case py_session:eval(Session, "importlib.util.find_spec('pandas') is not None") of
        true ->
            ?assertEqual([1, 2], py_session:eval(Session, "import pandas as pd\npd.Series([1, 2], name='n')")),
            ?assertMatch({grid, #{rows := [[1], [2]]}}, py_session:eval(Session, "pd.DataFrame({'a': [1, 2]})"));
        false ->
            ok
    end,
    %% What is linked too deep for a pickle, as the elements of a parsed page are.
    Page = py_session:eval(
        Session,
        "class Tag: pass\npage = Tag()\nfor _ in range(20000):\n    outer = Tag()\n    outer.inner = page\n    page = outer\npage"
    ),
    ?assertMatch({'$py.ref', _, _, _}, Page),
    ?assertMatch({'$py.ref', _, _, _}, py:attr(Page, inner)),
    %% As Haxall's users write it.
    ?assertMatch({grid, #{rows := [[1]]}}, py_session:eval(Session, "from hxpy.haystack.grid import Grid\nGrid(['a'], [[1]])")),
    ?assertEqual({py, na}, py_session:eval(Session, "from hxpy.haystack.na import NA\nNA()")),
    %% As it was, where that is asked for.
    Plain = py_session:open(#{persistent => true, haystack => false}),
    ?assertEqual({number, 21, 1}, py_session:eval(py_session:define(Plain, v, {number, 21, 1}), "v")),
    ?assertEqual(false, py_session:eval(py_session:define(Plain, v, {number, 21, <<"kW">>}), "hasattr(v, 'unit')")).

a_value_can_stay_in_python(_Config) ->
    Session = py_session:open(#{persistent => true}),
    List = py_session:eval(Session, "l = [1]\nl", #{return => ref}),
    ?assertMatch({'$py.ref', _, _, _}, List),
    undefined = py:method(List, append, [2]),
    ?assertEqual([1, 2], py_session:eval(Session, "l")),
    ?assertEqual(true, py_session:eval(py_session:define(Session, m, List), "m is l")).

what_is_printed_appears_where_the_caller_prints(_Config) ->
    Session = py_session:open(#{persistent => true}),
    {undefined, Leader} = py_output:of_call(fun() -> py_session:eval(Session, "print('tea')") end),
    ?assertEqual("tea\n", py_output:text(Leader)),
    py_output:stop(Leader).

python_code_calls_erlang(_Config) ->
    ?assertEqual(6, py_session:eval(py_session:open(), "import erl\nerl.call('lists', 'sum', [[1, 2, 3]])")).

a_wrong_argument_is_badarg(_Config) ->
    Session = py_session:open(#{persistent => true}),
    [
        ?assertMatch({badarg, #{Position := _}}, wrong(Function, Args))
     || {Position, Function, Args} <- [
            {1, open, [#{persistant => true}]},
            {1, open, [#{size => 2}]},
            {1, open, [#{timeout => -1}]},
            {1, open, [[tea]]},
            {1, own, [#{python => 7}]},
            {1, eval, [tea, "1"]},
            {2, eval, [Session, tea]},
            {2, eval, [Session, [tea]]},
            {2, exec, [Session, <<255>>]},
            {3, eval, [Session, "1", #{pool => default}]},
            {3, eval, [Session, "1", #{tmeout => 1}]},
            {2, timeout, [Session, soon]},
            {2, init, [Session, fun() -> ok end]},
            {2, define, [Session, "1st", 1]},
            {2, define, [Session, "a b", 1]},
            {2, define, [Session, <<>>, 1]},
            {1, close, [self()]},
            {1, status, [undefined]},
            {1, fork, [undefined]}
        ]
    ],
    ?assertMatch({python, 'builtins.ValueError', "'class' is no name for a variable", _},
        failure(fun() -> py_session:eval(py_session:define(Session, class, 1), "1") end)).

wrong(Function, Args) ->
    try apply(py_session, Function, Args) of
        Value -> Value
    catch
        error:Reason:Stack ->
            ?assertMatch([{py_session, Function, Args, _} | _], Stack),
            {Reason, py_error:format_error(Reason, Stack)}
    end.

failure(Fun) ->
    try Fun() of
        Value -> {no_failure, Value}
    catch
        error:Reason -> Reason
    end.

%%% What fails

an_exception_marks_its_line_and_ends_nothing(_Config) ->
    Session = py_session:open(),
    py_session:exec(Session, "def half(x):\n    y = x\n    return y / 0\n"),
    ?assertMatch(
        {python, 'builtins.ZeroDivisionError', "division by zero", [
            {"<session>", 3, "half", "return y / 0"}, {"<session>", 2, "<module>", "half(x)"}
        ]},
        failure(fun() -> py_session:eval(Session, "x = 7\nhalf(x)") end)
    ),
    ?assertMatch({python, 'builtins.SystemExit', _, _}, failure(fun() -> py_session:eval(Session, "exit(1)") end)),
    ?assertMatch(
        {python, _, _, [{"<session>", 4, "slow", "1 / 0"}, {"<session>", 1, "<module>", _}]},
        failure(fun() ->
            py_session:exec(Session, "import asyncio\nasync def slow():\n    await asyncio.sleep(0)\n    1 / 0"),
            py_session:eval(Session, "await slow()")
        end)
    ),
    ?assertEqual(7, py_session:eval(Session, "x")),
    ?assertMatch(#{state := closed}, py_session:status(Session)).

after_a_failure_nothing_is_sent_twice(_Config) ->
    Session = py_session:open(#{persistent => true}),
    py_session:exec(py_session:exec(py_session:exec(Session, "n = 1"), "1 / 0"), "n = 2"),
    ?assertMatch({python, 'builtins.ZeroDivisionError', _, _}, failure(fun() -> py_session:sync(Session) end)),
    ?assertMatch(#{pending := 0}, py_session:status(Session)),
    ?assertEqual(1, py_session:eval(Session, "n")).

a_syntax_error_marks_its_line(_Config) ->
    Session = py_session:open(#{persistent => true}),
    Failure = failure(fun() -> py_session:eval(Session, "x = 1\ny = 2\nz = = 3") end),
    ?assertMatch({python, 'builtins.SyntaxError', "invalid syntax (<session>, line 3)", [{"<session>", 3, _, "z = = 3"}]}, Failure),
    ?assertNotEqual(nomatch, string:find(py_error:text(Failure), "File \"<session>\", line 3")),
    ?assertMatch({python, 'builtins.NameError', _, _}, failure(fun() -> py_session:eval(Session, "x") end)).

a_deadline_interrupts_and_the_namespace_stays(_Config) ->
    Session = py_session:timeout(py_session:open(#{persistent => true}), 200),
    py_session:sync(py_session:define(Session, x, 7)),
    ?assertError({py, timeout}, py_session:eval(Session, "while True: pass")),
    ?assertError({py, timeout}, py_session:eval(Session, "import time\ntime.sleep(60)", #{timeout => 100})),
    ?assertError({py, timeout}, py_session:sync(py_session:exec(Session, "while True: pass"))),
    ?assertMatch(#{restarts := 0, timeout := 200}, py_session:status(Session)),
    ?assertEqual(7, py_session:eval(Session, "x")).

a_deadline_that_can_not_interrupt_restarts(_Config) ->
    Test = self(),
    Session = py_session:open(#{persistent => true, kill_after => 100}),
    py_session:init(Session, fun(S) -> Test ! init, py_session:define(S, base, 10) end),
    py_session:define(Session, x, 7),
    ?assertEqual(17, py_session:eval(Session, "x + base")),
    #{os_pid := Before} = py_session:status(Session),
    Failure = failure(fun() -> py_session:eval(Session, stubborn(), #{timeout => 200}) end),
    ?assertEqual({py, {session_restarted, {deadline, killed}}}, Failure),
    ?assertNotEqual(nomatch, string:find(py_error:text(Failure), "in which its init runs again")),
    ?assertNot(py_os_process:alive(Before)),
    ?assertEqual([10, false], py_session:eval(Session, "[base, 'x' in globals()]")),
    ?assertMatch(#{restarts := 1}, py_session:status(Session)),
    ?assertEqual([init, init], py_application:messages()),
    %% Twice in a row.
    ?assertError({py, {session_restarted, _}}, py_session:eval(Session, stubborn(), #{timeout => 200})),
    ?assertEqual(10, py_session:eval(Session, "base")),
    ?assertEqual([init], py_application:messages()).

%% Whatever is raised in it ends there.
stubborn() -> "import time\nwhile True:\n    try:\n        while True: time.sleep(60)\n    except BaseException: pass".

a_deadline_holds_while_another_has_the_turn(_Config) ->
    Session = py_session:open(#{persistent => true}),
    Busy = py_caller:start(fun() -> py_session:eval(Session, "import time\ntime.sleep(60)") end),
    py_eventually:holds(fun() -> maps:get(state, py_session:status(Session)) =:= busy end),
    py_session:define(Session, x, 7),
    ?assertError({py, timeout}, py_session:eval(Session, "x", #{timeout => 100})),
    %% What it would have sent waits for the next one.
    ?assertMatch(#{pending := 1, waiting := 0}, py_session:status(Session)),
    py_caller:kill(Busy),
    ?assertEqual(7, py_session:eval(Session, "x")).

a_python_that_dies_is_replaced_and_init_runs_again(_Config) ->
    Test = self(),
    Session = py_session:open(),
    py_session:init(Session, fun(S) -> Test ! init, py_session:exec(S, "base = 10") end),
    py_session:define(Session, x, 7),
    Ends = [
        {"import os\nos._exit(3)", {exit_status, 3, []}},
        {"import ctypes\nctypes.string_at(0)", {signal, 11, any}},
        {"import os\nos.kill(os.getpid(), 9)", {signal, 9, any}}
    ],
    [
        begin
            {py, {session_restarted, Why}} = failure(fun() -> py_session:eval(Session, Source) end),
            ?assertEqual(setelement(3, Expected, any), setelement(3, Why, any))
        end
     || {Source, Expected} <- Ends
    ],
    ?assertMatch(#{restarts := 3}, py_session:status(Session)),
    ?assertEqual([10, false], py_session:eval(Session, "[base, 'x' in globals()]")),
    ?assertEqual([init, init, init, init], py_application:messages()).

a_python_that_dies_between_two_evals_is_told(_Config) ->
    Session = py_session:open(#{persistent => true}),
    py_session:sync(py_session:define(Session, x, 7)),
    #{os_pid := OsPid} = py_session:status(Session),
    py_os_process:kill(OsPid),
    py_eventually:holds(fun() -> not lists:member(maps:get(os_pid, py_session:status(Session)), [undefined, OsPid]) end),
    %% What was to be sent with the eval that is told is not sent later.
    ?assertError({py, {session_restarted, replaced}}, py_session:eval(py_session:define(Session, y, 8), "x")),
    ?assertEqual([false, false], py_session:eval(Session, "['x' in globals(), 'y' in globals()]")).

a_killed_worker_process_is_replaced(_Config) ->
    Session = py_session:open(#{persistent => true}),
    py_session:sync(py_session:define(Session, x, 7)),
    #{worker := Worker, os_pid := OsPid} = py_session:status(Session),
    exit(Worker, kill),
    py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end),
    ?assertError({py, {session_restarted, replaced}}, py_session:eval(Session, "x")),
    ?assertEqual(3, py_session:eval(Session, "1 + 2")).

a_worker_that_is_taken_away_is_replaced(_Config) ->
    Session = py_session:open(#{persistent => true}),
    py_session:sync(py_session:define(Session, x, 7)),
    #{worker := Worker} = py_session:status(Session),
    ok = py:restart_worker(Worker),
    ?assertError({py, {session_restarted, replaced}}, py_session:eval(Session, "x")),
    ?assertEqual(1, py_session:eval(Session, "1")).

a_pool_that_is_stopped_comes_back(_Config) ->
    Session = py_session:open(#{persistent => true}),
    py_session:sync(py_session:define(Session, x, 7)),
    ok = py:stop_pool(py_sessions),
    ?assertError({py, {session_restarted, replaced}}, py_session:eval(Session, "x")),
    ?assertEqual(3, py_session:eval(Session, "1 + 2")),
    ?assertEqual(2, py_session:eval(py_session:open(), "2")),
    %% The same with the pool's process killed.
    {ok, Pool} = py_registry:pool_process(py_sessions),
    exit(Pool, kill),
    py_eventually:holds(fun() -> py_registry:pool_process(py_sessions) =/= {ok, Pool} end),
    ?assertError({py, {session_restarted, replaced}}, py_session:eval(Session, "x")),
    ?assertEqual(3, py_session:eval(Session, "1 + 2")).

%%% Init

one_that_dies_again_and_again_says_that_it_is_down(_Config) ->
    Restart = #{max => 2, within => 60_000, delay => 1_000, max_delay => 1_000},
    Session = py_session:open(#{persistent => true, restart => Restart}),
    Die = fun() -> failure(fun() -> py_session:eval(Session, "import os\nos._exit(3)") end) end,
    [?assertMatch({py, {session_restarted, {exit_status, 3, _}}}, Die()) || _ <- [1, 2, 3]],
    py_eventually:holds(fun() -> [State || #{state := State} <- py:workers(py_sessions)] -- [serving] =:= [degraded] end),
    %% Nothing has run, and nothing is lost by that.
    ?assertMatch({py, {worker_down, {exit_status, 3, _}}}, Die()),
    ?assertMatch(#{restarts := 3, state := idle}, py_session:status(Session)),
    py_eventually:equals({no_failure, 1}, fun() -> failure(fun() -> py_session:eval(Session, "1") end) end).

%% A worker of a pool would be replaced: it holds more than three quarters of what it may.
a_large_namespace_stays(_Config) ->
    Session = py_session:open(#{persistent => true, max_memory => 200_000_000}),
    #{os_pid := OsPid} = py_session:status(Session),
    ?assertEqual(170_000_000, py_session:eval(Session, "data = b'x' * 170_000_000\nlen(data)")),
    [?assertEqual(170_000_000, py_session:eval(Session, "len(data)")) || _ <- lists:seq(1, 20)],
    %% More it does not get, and keeps what it has.
    ?assertMatch({python, 'builtins.MemoryError', _, _}, failure(fun() -> py_session:eval(Session, "more = data * 2") end)),
    ?assertEqual(170_000_000, py_session:eval(Session, "len(data)")),
    ?assertMatch(#{os_pid := OsPid, restarts := 0}, py_session:status(Session)).

init_runs_once_and_before_the_rest(_Config) ->
    Test = self(),
    Session = py_session:open(#{persistent => true}),
    py_session:exec(Session, "trail.append('pending')"),
    py_session:init(Session, fun(S) -> Test ! init, py_session:exec(S, "trail = ['init']") end),
    ?assertEqual(["init", "pending"], py_session:eval(Session, "trail")),
    ?assertEqual(["init", "pending"], py_session:eval(Session, "trail")),
    ?assertEqual([init], py_application:messages()),
    %% One that is set later runs, too, in the namespace that there is.
    Late = py_session:open(#{persistent => true}),
    ?assertEqual(1, py_session:eval(Late, "x = 1\nx")),
    py_session:init(Late, fun(S) -> py_session:exec(S, "x += 1") end),
    ?assertEqual(2, py_session:eval(Late, "x")),
    ?assertEqual(2, py_session:eval(Late, "x")).

init_may_evaluate(_Config) ->
    Test = self(),
    Session = py_session:open(),
    py_session:init(Session, fun(S) ->
        Test ! {answer, py_session:eval(py_session:define(S, x, 20), "x + 1")},
        %% By the outer name it is the same.
        py_session:sync(py_session:exec(Session, "y = x"))
    end),
    ?assertEqual(40, py_session:eval(Session, "x + y")),
    ?assertEqual([{answer, 21}], py_application:messages()).

an_init_that_fails_runs_again(_Config) ->
    Session = py_session:open(),
    py_session:init(Session, fun(_) -> error(no_tea) end),
    ?assertError(no_tea, py_session:eval(Session, "1")),
    py_session:init(Session, fun(S) -> py_session:exec(S, "x = 1\n1 / 0") end),
    ?assertMatch({python, 'builtins.ZeroDivisionError', _, _}, failure(fun() -> py_session:eval(Session, "1") end)),
    py_session:init(Session, fun(S) -> py_session:define(S, y, 2) end),
    ?assertEqual([2, false], py_session:eval(Session, "[y, 'x' in globals()]")).

%%% Ends

a_caller_that_dies_gives_its_turn_back(_Config) ->
    Session = py_session:open(#{persistent => true}),
    py_session:sync(py_session:define(Session, x, 7)),
    Caller = py_caller:start(fun() -> py_session:eval(Session, "import time\ntime.sleep(60)") end),
    py_eventually:holds(fun() -> maps:get(state, py_session:status(Session)) =:= busy end),
    py_caller:kill(Caller),
    ?assertEqual(7, py_session:eval(Session, "x")),
    %% Also one that dies in `init'.
    Other = py_session:open(),
    Test = self(),
    py_session:init(Other, fun(S) ->
        Test ! {in_init, self()},
        receive go -> py_session:define(S, x, 8) end
    end),
    InInit = py_caller:start(fun() -> py_session:eval(Other, "x") end),
    receive {in_init, _} -> ok end,
    py_caller:kill(InInit),
    Again = py_caller:start(fun() -> py_session:eval(Other, "x") end),
    receive {in_init, Pid} -> Pid ! go end,
    ?assertEqual({ok, 8}, py_caller:result(Again)).

a_closed_session_says_so(_Config) ->
    Session = py_session:open(),
    ?assertEqual(Session, py_session:close(Session)),
    ?assertEqual(Session, py_session:close(Session)),
    ?assertEqual(#{session => Session, state => closed}, py_session:status(Session)),
    [
        ?assertError({py, session_closed}, Fun())
     || Fun <- [
            fun() -> py_session:eval(Session, "1") end,
            fun() -> py_session:sync(Session) end,
            fun() -> py_session:define(Session, x, 1) end,
            fun() -> py_session:exec(Session, "1") end,
            fun() -> py_session:timeout(Session, 1) end,
            fun() -> py_session:init(Session, fun(S) -> S end) end,
            fun() -> py_session:fork(Session) end
        ]
    ].

closing_ends_what_runs(_Config) ->
    Session = py_session:open(),
    #{os_pid := OsPid} = py_session:status(Session),
    Caller = py_caller:start(fun() -> py_session:eval(Session, "import time\ntime.sleep(60)") end),
    py_eventually:holds(fun() -> maps:get(state, py_session:status(Session)) =:= busy end),
    Waiting = py_caller:start(fun() -> py_session:eval(Session, "1") end),
    py_eventually:holds(fun() -> maps:get(waiting, py_session:status(Session)) =:= 1 end),
    py_session:close(Session),
    ?assertEqual([{error, {py, session_closed}}, {error, {py, session_closed}}], py_caller:results([Caller, Waiting])),
    py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end).

a_session_ends_with_its_owner(_Config) ->
    Test = self(),
    Owner = py_caller:start(fun() ->
        Test ! {opened, py_session:open(#{persistent => true})},
        receive never -> ok end
    end),
    Session = receive {opened, Opened} -> Opened end,
    %% Others may use it.
    ?assertEqual(3, py_session:eval(Session, "1 + 2")),
    #{os_pid := OsPid} = py_session:status(Session),
    py_caller:kill(Owner),
    py_eventually:equals(closed, fun() -> maps:get(state, py_session:status(Session)) end),
    py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end),
    %% One that belongs to another process outlives the one that opened it.
    Opener = py_caller:start(fun() -> py_session:open(#{owner => Test}) end),
    {ok, Mine} = py_caller:result(Opener),
    ?assertEqual(1, py_session:eval(Mine, "1")).

a_killed_session_leaves_nothing(_Config) ->
    {'$py.session', Pid} = Session = py_session:open(),
    #{os_pid := OsPid} = py_session:status(Session),
    Caller = py_caller:start(fun() -> py_session:eval(Session, "import time\ntime.sleep(60)") end),
    py_eventually:holds(fun() -> maps:get(state, py_session:status(Session)) =:= busy end),
    exit(Pid, kill),
    ?assertEqual({error, {py, session_closed}}, py_caller:result(Caller)),
    py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end),
    ?assertEqual([], py_session:list()).

a_killed_supervisor_leaves_nothing(_Config) ->
    [
        begin
            Session = py_session:open(#{persistent => true}),
            ?assertEqual(1, py_session:eval(Session, "1")),
            #{os_pid := OsPid} = py_session:status(Session),
            exit(whereis(Name), kill),
            py_eventually:equals(closed, fun() -> maps:get(state, py_session:status(Session)) end),
            py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end),
            py_eventually:holds(fun() -> is_pid(whereis(py_sessions)) andalso is_pid(whereis(py_session_sup)) end),
            ?assertEqual(3, py_session:eval(py_session:open(), "1 + 2"))
        end
     || Name <- [py_sessions, py_session_sup, py_pools_sup]
    ].

callers_take_turns(_Config) ->
    Session = py_session:open(#{persistent => true}),
    py_session:sync(py_session:define(Session, n, 0)),
    Add = "before = n\nimport time\ntime.sleep(0.001)\nn = before + 1",
    Callers = [py_caller:start(fun() -> py_session:eval(Session, Add) end) || _ <- lists:seq(1, 20)],
    ?assertEqual([{ok, undefined} || _ <- Callers], py_caller:results(Callers)),
    ?assertEqual(20, py_session:eval(Session, "n")).

own_is_one_session_a_process(_Config) ->
    Own = py_session:own(),
    ?assertEqual(Own, py_session:own(#{timeout => 5})),
    ?assertEqual(1, py_session:eval(Own, "x = 1\nx")),
    ?assertEqual(1, py_session:eval(py_session:own(), "x")),
    {ok, Other} = py_caller:result(py_caller:start(fun() -> py_session:own() end)),
    ?assertNotEqual(Own, Other),
    py_eventually:equals(closed, fun() -> maps:get(state, py_session:status(Other)) end),
    %% One that was closed is opened again.
    py_session:close(Own),
    ?assertEqual(2, py_session:eval(py_session:own(#{timeout => 5_000}), "2")),
    ?assertMatch(#{timeout := 5_000, persistent := true}, py_session:status(py_session:own())).

%%% Workers

no_two_sessions_share_an_interpreter(_Config) ->
    OsPids = [py_session:eval(py_session:open(), "import os\nos.tea = 1\nos.getpid()") || _ <- lists:seq(1, 4)],
    ?assertEqual(4, length(lists:usort(OsPids))),
    ?assertEqual(false, py_session:eval(py_session:open(), "import os\nhasattr(os, 'tea')")),
    [A, B] = [py_session:open(#{persistent => true}) || _ <- [a, b]],
    py_session:eval(A, "x = 1"),
    ?assertEqual(false, py_session:eval(B, "'x' in globals()")),
    py_eventually:holds(fun() -> not lists:any(fun py_os_process:alive/1, OsPids) end).

options_of_a_pool_are_options_of_a_session(Config) ->
    Directory = ?config(priv_dir, Config),
    ok = file:write_file(filename:join(Directory, "py_session_tea.py"), "kind = 'green'\n"),
    Options = #{
        env => [{"TEA", "black"}],
        cd => Directory,
        python_path => [Directory],
        on_start => {sys, setrecursionlimit, [2000]},
        import => ["xml.dom"],
        strings => binary
    },
    ?assertEqual(
        [<<"black">>, true, <<"green">>, 2000, true],
        py_session:eval(
            py_session:define(py_session:open(Options), directory, list_to_binary(Directory)),
            "import os, sys, py_session_tea\n"
            "[os.environ['TEA'], os.path.samefile('.', directory), py_session_tea.kind, sys.getrecursionlimit(), 'xml.dom' in sys.modules]"
        )
    ).

a_worker_that_does_not_start_is_told(_Config) ->
    {py, {start, py_sessions, _}} = failure(fun() -> py_session:open(#{python => "/no/python"}) end),
    {py, {start, py_sessions, {start, {on_start, {python, 'builtins.ValueError', _, _}}}}} =
        failure(fun() -> py_session:open(#{on_start => {math, sqrt, [-1]}}) end),
    ?assertEqual([], py_session:list()),
    ?assertEqual(1, py_session:eval(py_session:open(), "1")).

as_many_sessions_as_the_application_allows(_Config) ->
    configured(#{warm => 0, max => 2}),
    ok = py_application:start([{default, #{size => 1}}]),
    [A, _B] = [py_session:open(), py_session:open()],
    ?assertError({py, {too_many_sessions, 2}}, py_session:open()),
    ?assertError({py, {too_many_sessions, 2}}, py_session:open(#{env => [{"A", "b"}]})),
    py_session:close(A),
    %% Whoever has closed one, or has the value that closed it, has room for the next.
    [?assertEqual(N, py_session:eval(py_session:open(), integer_to_list(N))) || N <- lists:seq(1, 30)].

a_session_starts_from_a_warm_worker(_Config) ->
    First = py_session:eval(py_session:open(), "import os\nos.getpid()"),
    Warm = fun() -> [OsPid || #{os_pid := OsPid, state := serving} <- py:workers(py_sessions)] -- [First] end,
    py_eventually:equals(1, fun() -> length(Warm()) end),
    [OsPid] = Warm(),
    {Us, OsPid} = timer:tc(fun() -> py_session:eval(py_session:open(), "import os\nos.getpid()") end),
    ct:comment("~w ms from open to the first value", [Us div 1_000]),
    %% And the next one is there soon; one that dies meanwhile is replaced.
    py_eventually:equals(1, fun() -> length(Warm() -- [OsPid]) end),
    [Next] = Warm() -- [OsPid],
    py_os_process:kill(Next),
    ?assertEqual(1, py_session:eval(py_session:open(), "1")).

no_session_starts_no_python(_Config) ->
    ?assertEqual(1, length(py_os_process:pythons())),
    ?assertEqual([default], py_registry:pools()).

a_wrong_configuration_stops_the_start(_Config) ->
    [
        begin
            configured(Wrong),
            ?assertMatch({error, {py, {bad_config, sessions, _}}}, py:start())
        end
     || Wrong <- [#{warm => -1}, #{worm => 1}, #{max => 0}, #{size => 3}, tea, [{python, 7}]]
    ],
    configured([{warm, 0}, {max, 3}]),
    ok = py_application:start([{default, #{size => 1}}]).

no_call_gets_a_sessions_worker(_Config) ->
    Session = py_session:open(),
    ?assertError({py, {unknown_pool, py_sessions}}, py:func(os, getpid, [], #{pool => py_sessions})),
    ?assertMatch({error, {py, {unknown_pool, _}}}, py:add_worker(py_sessions)),
    ?assertMatch({error, {py, {unknown_pool, _}}}, py:resize(py_sessions, 3)),
    %% Who names it has it.
    #{worker := Worker, os_pid := OsPid} = py_session:status(Session),
    ?assertEqual(OsPid, py:func(os, getpid, [], #{worker => Worker})).

%%% Copies and lists

a_fork_has_what_pickles(_Config) ->
    Session = py_session:open(#{persistent => true, timeout => 7_000}),
    py_session:define(Session, factor, 3),
    py_session:exec(
        Session,
        "import math, threading\n"
        "lock = threading.Lock()\n"
        "names = ['tea']; same = names\n"
        "def times(x): return x * factor\n"
        "def locked():\n"
        "    with lock: return 1\n"
        "class Cup:\n"
        "    def size(self): return times(2)\n"
        "cup = Cup()\n"
    ),
    Copy = py_session:fork(Session),
    ?assertNotEqual(Session, Copy),
    ?assertMatch(#{not_copied := [{"lock", _}], timeout := 7_000, persistent := true}, py_session:status(Copy)),
    ?assertEqual([30, 20, "pi"], py_session:eval(Copy, "factor = 10\n[times(3), cup.size(), 'pi' if math.pi > 3 else '']")),
    ?assertEqual(["tea", "cup"], py_session:eval(Copy, "same.append('cup')\nnames")),
    ?assertMatch(
        {python, 'builtins.NameError', _, [{"<session>", 6, "locked", "with lock: return 1"} | _]},
        failure(fun() -> py_session:eval(Copy, "locked()") end)
    ),
    %% The first one is as it was, and outlived by its copy.
    ?assertEqual([9, ["tea"]], py_session:eval(Session, "[times(3), names]")),
    py_session:close(Session),
    ?assertEqual(30, py_session:eval(py_session:fork(Copy), "times(3)")).

a_fork_that_is_restarted_runs_init(_Config) ->
    Test = self(),
    Session = py_session:open(#{persistent => true}),
    py_session:init(Session, fun(S) -> Test ! init, py_session:define(S, x, 1) end),
    ?assertEqual(2, py_session:eval(Session, "y = x + 1\ny")),
    Copy = py_session:fork(Session),
    ?assertEqual([1, 2], py_session:eval(Copy, "[x, y]")),
    ?assertEqual([init], py_application:messages()),
    ?assertError({py, {session_restarted, _}}, py_session:eval(Copy, "import os\nos._exit(1)")),
    ?assertEqual([1, false], py_session:eval(Copy, "[x, 'y' in globals()]")),
    ?assertEqual([init], py_application:messages()).

sessions_are_listed(_Config) ->
    ?assertEqual([], py_session:list()),
    A = py_session:open(),
    %% Ages are milliseconds: two that were opened in the same one have no order.
    timer:sleep(2),
    B = py_session:open(#{persistent => true}),
    Self = self(),
    ?assertMatch(
        [#{session := A, owner := Self, persistent := false}, #{session := B, owner := Self, persistent := true}],
        py_session:list()
    ),
    [#{os_pid := OsPid, age_ms := Age} | _] = py_session:list(),
    ?assert(is_integer(Age) andalso py_os_process:alive(OsPid)),
    py_session:close(A),
    ?assertMatch([#{session := B}], py_session:list()).

a_stopped_application_has_no_sessions(_Config) ->
    Session = py_session:open(),
    Caller = py_caller:start(fun() -> py_session:eval(Session, "import time\ntime.sleep(60)") end),
    py_eventually:holds(fun() -> maps:get(state, py_session:status(Session)) =:= busy end),
    {ok, stopped} = py:stop(0),
    {error, {py, _}} = py_caller:result(Caller),
    ?assertError({py, not_started}, py_session:open()),
    ?assertMatch(#{state := closed}, py_session:status(Session)),
    ?assertEqual([], py_session:list()),
    ?assertEqual([], py_os_process:descendants()).
