%%% Sessions in sandboxes: what they can do, what holds them, and what one that somebody has taken over can say.
-module(py_session_sandbox_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    io_is_written_and_read_back/1,
    there_is_no_network_and_no_file_of_the_host/1,
    a_session_does_in_a_box_what_it_does_without/1,
    values_are_mapped_in_a_box/1,
    a_box_is_warm_where_the_application_says_sandbox/1,
    who_opens_can_do_without_the_applications_sandbox/1,
    own_is_never_in_less_of_a_box_than_was_asked_for/1,
    a_box_has_no_part_in_shared_memory/1,
    a_memory_bomb_ends_and_init_runs_again/1,
    a_fork_bomb_is_contained/1,
    a_deadline_that_can_not_interrupt_restarts/1,
    a_box_ends_with_its_session/1,
    a_box_ends_with_a_killed_beam/1,
    a_copy_is_in_a_box_of_its_own/1,
    a_copy_that_is_made_up_is_told/1,
    pickles_are_read_in_their_own_session_only/1,
    a_pickle_that_nobody_could_read_is_an_error/1,
    what_is_answered_is_only_a_value/1,
    one_that_was_taken_over_answers_its_own_caller_only/1,
    what_is_no_answer_ends_it/1,
    atoms_of_one_are_not_missing_in_another/1,
    it_calls_only_what_is_listed/1,
    modules_of_other_nodes_are_not_told_to_it/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        io_is_written_and_read_back,
        there_is_no_network_and_no_file_of_the_host,
        a_session_does_in_a_box_what_it_does_without,
        values_are_mapped_in_a_box,
        a_box_is_warm_where_the_application_says_sandbox,
        who_opens_can_do_without_the_applications_sandbox,
        own_is_never_in_less_of_a_box_than_was_asked_for,
        a_box_has_no_part_in_shared_memory,
        a_memory_bomb_ends_and_init_runs_again,
        a_fork_bomb_is_contained,
        a_deadline_that_can_not_interrupt_restarts,
        a_box_ends_with_its_session,
        a_box_ends_with_a_killed_beam,
        a_copy_is_in_a_box_of_its_own,
        a_copy_that_is_made_up_is_told,
        pickles_are_read_in_their_own_session_only,
        a_pickle_that_nobody_could_read_is_an_error,
        what_is_answered_is_only_a_value,
        one_that_was_taken_over_answers_its_own_caller_only,
        what_is_no_answer_ends_it,
        atoms_of_one_are_not_missing_in_another,
        it_calls_only_what_is_listed,
        modules_of_other_nodes_are_not_told_to_it
    ].

%% Also where bwrap is installed a system may forbid it to ordinary users.
init_per_suite(Config) ->
    case os:find_executable("bwrap") of
        false ->
            {skip, "no bwrap on PATH (apt-get install bubblewrap)"};
        Program ->
            Args = ["--unshare-user-try", "--unshare-pid", "--ro-bind", "/", "/", "--", "/bin/sh", "-c", "exit 0"],
            case py_program:run(Program, [{args, Args}], 10_000) of
                {0, _} -> Config;
                {_, Said} -> {skip, unicode:characters_to_list(["bwrap can make no namespaces here: ", Said])}
            end
    end.

end_per_suite(_Config) -> ok.

init_per_testcase(a_box_is_warm_where_the_application_says_sandbox, Config) ->
    start(#{warm => 1, sandbox => bwrap}, Config);
init_per_testcase(who_opens_can_do_without_the_applications_sandbox, Config) ->
    start(#{warm => 0, sandbox => bwrap, io => directory(Config), max_processes => 20}, Config);
init_per_testcase(_, Config) ->
    start(#{warm => 0}, Config).

start(Sessions, Config) ->
    _ = application:load(py),
    application:set_env(py, sessions, Sessions),
    ok = py_application:start([{default, #{size => 1}}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop_sessions().

open() -> open(#{}).

open(Options) -> py_session:open(maps:merge(#{sandbox => bwrap, persistent => true, kill_after => 300}, Options)).

failure(Fun) ->
    try Fun() of
        Value -> {no_failure, Value}
    catch
        error:Reason -> Reason
    end.

directory(Config) ->
    Directory = filename:join(?config(priv_dir, Config), "io-" ++ integer_to_list(erlang:unique_integer([positive]))),
    ok = filelib:ensure_path(Directory),
    Directory.

os_pid(Session) -> maps:get(os_pid, py_session:status(Session)).

%% The interpreter and the two processes that made its box.
family(Session) ->
    OsPid = os_pid(Session),
    First = parent(OsPid),
    [OsPid, First, parent(First)].

parent(OsPid) ->
    {ok, Text} = file:read_file(["/proc/", integer_to_list(OsPid), "/stat"]),
    [_, After] = string:split(Text, ") ", trailing),
    [_, Parent | _] = string:split(After, " ", all),
    binary_to_integer(Parent).

gone(Family) -> py_eventually:equals([], fun() -> [Pid || Pid <- Family, py_os_process:alive(Pid)] end).

%%% The box

io_is_written_and_read_back(Config) ->
    Io = directory(Config),
    ok = file:write_file(filename:join(Io, "in.txt"), "from Erlang"),
    Session = py_session:open(#{
        sandbox => bwrap, io => Io, network => none, max_memory => 300_000_000, max_processes => 20, max_cpu_seconds => 60
    }),
    py_session:exec(
        Session,
        "def ioTest():\n"
        "    with open('/io/example.txt', 'w') as f:\n"
        "        f.write('Testing IO Example')\n"
        "    with open('/io/example.txt') as f, open('/io/in.txt') as g:\n"
        "        return [f.read(), g.read()]\n"
    ),
    ?assertMatch(#{sandbox := bwrap}, py_session:status(Session)),
    ?assertEqual(["Testing IO Example", "from Erlang"], py_session:eval(Session, "ioTest()")),
    ?assertEqual({ok, <<"Testing IO Example">>}, file:read_file(filename:join(Io, "example.txt"))),
    ?assertMatch(#{state := closed}, py_session:status(Session)).

there_is_no_network_and_no_file_of_the_host(Config) ->
    Session = open(),
    {ok, Listen} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listen),
    ?assertMatch(
        {python, 'builtins.ConnectionRefusedError', _, _},
        failure(fun() ->
            py_session:eval(py_session:define(Session, port, Port), "import socket\nsocket.create_connection(('127.0.0.1', port))")
        end)
    ),
    ok = gen_tcp:close(Listen),
    Secret = filename:join(?config(priv_dir, Config), "secret"),
    ok = file:write_file(Secret, "tea"),
    [
        ?assertMatch(
            {python, 'builtins.FileNotFoundError', _, _},
            failure(fun() -> py_session:eval(py_session:define(Session, path, list_to_binary(File)), "open(path).read()") end)
        )
     || File <- [Secret, "/etc/passwd", filename:join(os:getenv("HOME", "/"), ".erlang.cookie"), "/bin/sh"]
    ],
    ?assertEqual([], py_session:eval(Session, "import os\nos.listdir('/io')")),
    ?assertEqual(true, py_session:eval(Session, "os.getuid() != 0 and os.getpid() < 10")).

a_session_does_in_a_box_what_it_does_without(_Config) ->
    Test = self(),
    Own = py_session:own(#{sandbox => bwrap}),
    py_session:init(Own, fun(S) -> Test ! init, py_session:exec(S, "def sq(x): return x * x") end),
    ?assertEqual([4, 9, 16], [py_session:eval(py_session:define(py_session:own(), v, V), "sq(v)") || V <- [2, 3, 4]]),
    ?assertEqual([init], py_application:messages()),
    ?assertEqual(Own, py_session:sync(py_session:exec(Own, "import asyncio\nn = 3"))),
    ?assertEqual(3, py_session:eval(Own, "await asyncio.sleep(0.001, n)")),
    ?assertMatch(
        {python, 'builtins.ZeroDivisionError', _, [{"<session>", 2, "<module>", "n / 0"}]},
        failure(fun() -> py_session:eval(Own, "n\nn / 0") end)
    ),
    {undefined, Leader} = py_output:of_call(fun() -> py_session:eval(Own, "print('tea')") end),
    py_eventually:equals("tea\n", fun() -> py_output:text(Leader) end),
    py_output:stop(Leader),
    List = py_session:eval(Own, "l = [1]\nl", #{return => ref}),
    undefined = py:method(List, append, [2]),
    ?assertEqual([1, 2], py_session:eval(Own, "l")),
    ?assertMatch([#{session := Own, sandbox := bwrap, restarts := 0}], py_session:list()),
    py_session:close(Own),
    ?assertError({py, session_closed}, py_session:eval(Own, "1")).

values_are_mapped_in_a_box(_Config) ->
    Session = open(#{haystack => true, strings => binary, dicts => map}),
    Same = fun(Value) -> ?assertEqual(Value, py_session:eval(py_session:define(Session, v, Value), "v")) end,
    Kinds = [
        {py, marker}, {py, na}, {py, remove}, {number, 3, <<"kW">>}, {ref, <<"a">>, <<"dis">>}, {ref, <<"a">>, undefined},
        {uri, <<"http://tea">>}, {coord, 1.5, -2.5}
    ],
    [Same(Value) || Value <- Kinds ++ [Kinds, #{<<"a">> => [#{<<"b">> => Kinds}]}]],
    Same({grid, #{meta => #{}, cols => [#{name => <<"n">>, meta => #{<<"m">> => {py, marker}}}], rows => [[1], [{py, na}]]}}),
    case py_session:eval(Session, "import importlib.util\nimportlib.util.find_spec('numpy') is not None") of
        true ->
            ?assertEqual(
                {"ndarray", {"<i2", {2, 2}, <<1:16/little, 2:16/little, 3:16/little, 4:16/little>>}},
                py_session:eval(Session, "import numpy\nnumpy.array([[1, 2], [3, 4]], 'int16')", #{strings => list})
            );
        false ->
            ok
    end.

%%% Options

a_box_is_warm_where_the_application_says_sandbox(_Config) ->
    Session0 = py_session:open(),
    First = os_pid(Session0),
    ?assertEqual([], py_session:eval(Session0, "import os\nos.listdir('/io')")),
    Warm = fun() -> [OsPid || #{os_pid := OsPid, state := serving, sandbox := bwrap} <- py:workers(py_sessions)] -- [First] end,
    py_eventually:equals(1, fun() -> length(Warm()) end),
    [OsPid] = Warm(),
    {WarmUs, Session} = timer:tc(fun() ->
        Session = py_session:open(#{persistent => true}),
        1 = py_session:eval(Session, "1"),
        Session
    end),
    ?assertMatch(#{os_pid := OsPid, sandbox := bwrap}, py_session:status(Session)),
    {ColdUs, 1} = timer:tc(fun() -> py_session:eval(py_session:open(#{env => [{"TEA", "green"}]}), "1") end),
    ct:comment("from open to the first value: ~w ms warm, ~w ms cold", [WarmUs div 1_000, ColdUs div 1_000]).

who_opens_can_do_without_the_applications_sandbox(_Config) ->
    ?assertEqual(true, py_session:eval(py_session:open(), "import os\nos.path.isdir('/io')")),
    Free = py_session:open(#{sandbox => none, persistent => true}),
    ?assertMatch(#{sandbox := none}, py_session:status(Free)),
    ?assertEqual([false, true], py_session:eval(Free, "import os\n[os.path.isdir('/io'), os.path.isfile('/etc/passwd')]")),
    ?assertError(badarg, py_session:open(#{sandbox => none, io => "/tmp"})).

own_is_never_in_less_of_a_box_than_was_asked_for(_Config) ->
    Own = py_session:own(),
    ?assertEqual(Own, py_session:own(#{sandbox => none})),
    ?assertError(badarg, py_session:own(#{sandbox => bwrap})),
    py_session:close(Own),
    Boxed = py_session:own(#{sandbox => bwrap, max_memory => 100_000_000}),
    ?assertEqual(Boxed, py_session:own()),
    ?assertEqual(Boxed, py_session:own(#{timeout => 5})),
    ?assertEqual(Boxed, py_session:own([{sandbox, bwrap}, {max_memory, 100_000_000}])),
    ?assertError(badarg, py_session:own(#{sandbox => bwrap, max_memory => 200_000_000})),
    ?assertError(badarg, py_session:own(#{sandbox => bwrap, io => "/tmp"})),
    ?assertError(badarg, py_session:own(#{sandbax => bwrap})).

a_box_has_no_part_in_shared_memory(_Config) ->
    ?assertError(badarg, open(#{arrays => shared})),
    Session = open(),
    try py_session:eval(Session, "1", #{arrays => shared}) of
        Value -> ct:fail(Value)
    catch
        error:badarg:Stack ->
            #{3 := Text} = py_error:format_error(badarg, Stack),
            ?assertNotEqual(nomatch, string:find(Text, "sandbox"))
    end,
    ?assertEqual(1, py_session:eval(Session, "1", #{arrays => value})).

%%% What holds it

a_memory_bomb_ends_and_init_runs_again(_Config) ->
    Test = self(),
    Session = open(#{max_memory => 200_000_000}),
    py_session:init(Session, fun(S) -> Test ! init, py_session:define(S, x, 1) end),
    ?assertMatch(
        {python, 'builtins.MemoryError', _, _},
        failure(fun() -> py_session:eval(Session, "def bomb():\n    l = []\n    while True: l.append(b'x' * 10_000_000)\nbomb()") end)
    ),
    %% Of a kind that the limit of a process's own memory does not see.
    ?assertMatch(
        {py, {session_restarted, {memory, _}}},
        failure(fun() ->
            py_session:eval(Session,
                "import mmap\nl = []\nwhile True:\n    l.append(mmap.mmap(-1, 10_000_000))\n    l[-1].write(b'x' * 10_000_000)")
        end)
    ),
    ?assertEqual([1, false], py_session:eval(Session, "[x, 'l' in globals()]")),
    ?assertMatch([init, init | _], py_application:messages()),
    ?assertMatch(#{restarts := 1}, py_session:status(Session)).

a_fork_bomb_is_contained(_Config) ->
    Session = open(#{max_processes => 20}),
    Other = open(),
    ?assertMatch(
        {python, 'builtins.BlockingIOError', _, _},
        failure(fun() ->
            py_session:eval(Session,
                "import os, time\n"
                "while True:\n"
                "    if os.fork() == 0:\n"
                "        time.sleep(30)\n"
                "        os._exit(0)\n",
                #{timeout => 20_000})
        end)
    ),
    Family = py_sandbox_processes:all(parent(parent(os_pid(Session)))),
    ?assert(length(Family) =< 22, Family),
    ?assertEqual(1, py_session:eval(Other, "1")),
    py_session:close(Session),
    gone(Family).

a_deadline_that_can_not_interrupt_restarts(_Config) ->
    Session = py_session:define(open(#{kill_after => 2_000}), x, 1),
    ?assertError({py, timeout}, py_session:eval(Session, "while True: pass", #{timeout => 200})),
    ?assertEqual(1, py_session:eval(Session, "x")),
    Stubborn = open(),
    Family = family(Stubborn),
    ?assertEqual(
        {py, {session_restarted, {deadline, killed}}},
        failure(fun() ->
            py_session:eval(
                Stubborn,
                %% Whatever is raised in it ends there.
                "import time\nwhile True:\n    try:\n        while True: time.sleep(60)\n    except BaseException: pass",
                #{timeout => 200}
            )
        end)
    ),
    gone(Family),
    ?assertEqual(3, py_session:eval(Stubborn, "1 + 2")),
    ?assertMatch(#{restarts := 1, sandbox := bwrap}, py_session:status(Stubborn)),
    ?assertEqual(true, py_session:eval(Stubborn, "import os\nos.getpid() < 10")).

a_box_ends_with_its_session(_Config) ->
    Test = self(),
    Leave = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\n    os._exit(0)\n",
    [
        begin
            Owner = py_caller:start(fun() ->
                Session = open(),
                undefined = py_session:eval(Session, Leave),
                Test ! {opened, Session, self()},
                py_session:eval(Session, "time.sleep(60)")
            end),
            {Session, Pid} = receive {opened, Opened, By} -> {Opened, By} end,
            Family = py_sandbox_processes:all(parent(parent(os_pid(Session)))),
            ?assert(length(Family) >= 3, Family),
            End(Session, Pid),
            _ = py_caller:result(Owner),
            gone(Family)
        end
     || End <- [
            fun(_, Pid) -> exit(Pid, kill) end,
            fun(Session, _) -> py_session:close(Session) end,
            fun({'$py.session', Server}, _) -> exit(Server, kill) end
        ]
    ],
    ?assertEqual([], py_session:list()).

a_box_ends_with_a_killed_beam(Config) ->
    Io = directory(Config),
    Start = io_lib:format(
        "{ok, started} = py:start(), S = py_session:open(~0tp), "
        "py_session:eval(S, \"open('/io/begun', 'w').close()\\nwhile True: pass\").",
        [#{sandbox => bwrap, io => Io}]
    ),
    Args = ["-noinput", "-pa", filename:dirname(filename:absname(code:where_is_file("py.app"))), "-eval", lists:flatten(Start)],
    Port = open_port({spawn_executable, os:find_executable("erl")}, [{args, Args}, exit_status, hide]),
    {os_pid, Beam} = erlang:port_info(Port, os_pid),
    py_eventually:holds(fun() -> filelib:is_regular(filename:join(Io, "begun")) end, 20_000),
    Family = [OsPid || {OsPid, _} <- py_os_process:descendants(Beam)],
    ?assert(length(Family) >= 3, Family),
    py_os_process:kill(Beam),
    receive {Port, {exit_status, _}} -> ok after 5_000 -> ct:fail(beam_lives) end,
    gone(Family).

%%% Copies

a_copy_is_in_a_box_of_its_own(Config) ->
    Io = directory(Config),
    Session = open(#{io => Io}),
    py_session:init(Session, fun(S) -> py_session:define(S, z, 26) end),
    py_session:exec(
        Session,
        "import threading\nrate = 2\nlock = threading.Lock()\ndef cost(x): return rate * x\n"
        "class Cup:\n    size = 3\ncup = Cup()\n"
    ),
    Copy = py_session:fork(Session),
    ?assertMatch(#{not_copied := [{"lock", _}], sandbox := bwrap, persistent := true}, py_session:status(Copy)),
    ?assertNotEqual(os_pid(Session), os_pid(Copy)),
    ?assertEqual([30, 3, 26, true], py_session:eval(Copy, "rate = 10\n[cost(3), cup.size, z, type(cup) is Cup]")),
    ?assertEqual(6, py_session:eval(Session, "cost(3)")),
    %% It sees what the first one sees, and no more.
    undefined = py_session:eval(Copy, "open('/io/copy', 'w').close()"),
    ?assert(filelib:is_regular(filename:join(Io, "copy"))),
    ?assertMatch({python, 'builtins.FileNotFoundError', _, _}, failure(fun() -> py_session:eval(Copy, "open('/etc/passwd')") end)),
    ?assertError({py, {session_restarted, _}}, py_session:eval(Copy, "import os\nos._exit(1)")),
    ?assertEqual([26, false], py_session:eval(Copy, "[z, 'cup' in globals()]")),
    %% What it takes for a snapshot is code that runs where it is read: in a box. Out of one it is not read.
    Hostile = py_session:eval(
        Session,
        "import erl.calls.session, pickle\n"
        "class Bomb:\n    def __reduce__(self): return eval, (\"__import__('os').write(2, b'') or open('/io/bomb', 'w')\",)\n"
        "{'bytes': pickle.dumps(({'a': 1}, {}))}['bytes']"
    ),
    ?assertError({py, {decode, _}}, py:func('erl.calls.session', restore, [1, {bytes, Hostile}])).

a_copy_that_is_made_up_is_told(_Config) ->
    [
        begin
            Session = open(),
            Lie = "import erl, erl.calls.session\nerl.calls.session.snapshot = lambda token: " ++ Made,
            undefined = py_session:eval(Session, Lie),
            {Made, Reason} = {Made, failure(fun() -> py_session:fork(Session) end)},
            ?assertMatch(#{state := idle}, py_session:status(Session)),
            ?assertEqual([Session], [Open || #{session := Open} <- py_session:list()]),
            case Expected of
                much -> ?assertMatch({Made, {py, {encode, _}}}, {Made, Reason});
                unreadable -> ?assertEqual({Made, {py, {protocol, unreadable_answer}}}, {Made, Reason});
                python -> ?assertMatch({Made, {python, _, _, _}}, {Made, Reason})
            end,
            py_session:close(Session)
        end
     || {Expected, Made} <- [
            {unreadable, "erl.Atom('ok')"},
            {unreadable, "(1, 2)"},
            {unreadable, "(True, erl.Atom('ready'), [])"},
            {unreadable, "(True, 7, [])"},
            {unreadable, "(True, b'', erl.Atom('a'))"},
            {python, "(True, b'', [])"},
            {python, "(True, b'junk', [(1, 2, 3), ('x' * 10_000, 'y')])"},
            {much, "(True, b'junk', [('x' * 100_000_000, 'y')])"}
        ]
    ],
    Session = open(),
    undefined = py_session:eval(
        Session,
        "import erl.calls.session\nsnapshot = erl.calls.session.snapshot\n"
        "erl.calls.session.snapshot = lambda token: snapshot(token)[:2] + ([('n' * 9999, 7)] + [('x', 'y' * 3000)] * 2000,)"
    ),
    Copy = py_session:fork(Session),
    #{not_copied := [{Name, []}, {"x", Why} | _] = Left} = py_session:status(Copy),
    ?assert(length(Name) =< 200 andalso length(Why) =< 1_000 andalso length(Left) =< 1_000).

%%% Trust

pickles_are_read_in_their_own_session_only(_Config) ->
    [A, B, Free] = [open(), open(), py_session:open(#{persistent => true})],
    Cup = py_session:eval(A, "class Cup:\n    size = 3\nCup()"),
    ?assertMatch({'$erlport.opaque', python, _}, Cup),
    ?assertEqual(true, py_session:eval(py_session:define(A, cup, Cup), "type(cup) is Cup")),
    [?assertError({py, {decode, _}}, py_session:eval(py_session:define(S, cup, Cup), "cup")) || S <- [B, Free]],
    Theirs = py_session:eval(Free, "class Cup:\n    size = 3\nCup()"),
    ?assertError({py, {decode, _}}, py_session:eval(py_session:define(A, cup, Theirs), "cup")).

a_pickle_that_nobody_could_read_is_an_error(_Config) ->
    Box = #{sandbox => bwrap},
    Value = fun(Source) -> py_session:eval(py_session:open(Box), Source) end,
    ?assertEqual([1, 2], Value("[1, 2]")),
    [
        ?assertMatch({py, {encode, "the value has an object that is a pickle" ++ _}}, failure(fun() -> Value(Source) end))
     || Source <- ["class Cup: pass\nCup()", "class Cup: pass\n{'a': [(1, Cup())]}", "range(3)"]
    ],
    %% It has not ended then.
    Session = py_session:open(Box),
    {py, {encode, _}} = failure(fun() -> py_session:eval(Session, "r = range(3)\nr") end),
    ?assertEqual([0, 1, 2], py_session:eval(Session, "list(r)")).

what_is_answered_is_only_a_value(_Config) ->
    [A, B] = [open(), open()],
    [
        ?assertMatch({py, {encode, "a sandboxed Python may not answer with" ++ _}},
            failure(fun() -> py_session:eval(py_session:define(A, v, Value), "v") end))
     || Value <- [self(), [make_ref()], fun erlang:halt/0]
    ],
    %% The shell prints what is raised.
    ?assertMatch(
        {python, 'builtins.ValueError', "red \\x1b[31m", [{"<session>", 1, "<module>", _}]},
        failure(fun() -> py_session:eval(A, "raise ValueError('red \\x1b[31m')") end)
    ),
    ?assertEqual("red \e[31m", py_session:eval(A, "'red \\x1b[31m'")),
    %% A reference is its own session's.
    List = py_session:eval(A, "[1]", #{return => ref}),
    ?assertMatch({py, {stale_reference, _}}, failure(fun() -> py_session:eval(py_session:define(B, l, List), "l") end)),
    ?assertEqual([1], py_session:eval(py_session:define(A, l, List), "l[:]")).

%% What Python code writes to its port past everything that would have looked at it.
written(Session, Term) ->
    py_session:eval(
        py_session:define(Session, frame, {bytes, term_to_binary(Term)}),
        "import os, struct, time\n"
        "from erl import api\n"
        "os.write(api._bound()._port._out, struct.pack('>I', len(frame)) + frame)\n"
        %% The true answer comes behind it, when the frame has had its effect.
        "time.sleep(0.3)\n",
        #{timeout => 10_000}
    ).

%% Each call has the next number: that of one that was just made is the worker's to know.
next_id(Session) ->
    #{worker := Worker} = py_session:status(Session),
    {status, _, _, Items} = sys:get_status(Worker),
    {match, [Next]} = re:run(io_lib:format("~p", [Items]), "next\\s*=>\\s*(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Next).

one_that_was_taken_over_answers_its_own_caller_only(_Config) ->
    Other = open(),
    undefined = py_session:eval(Other, "x = 1"),
    Slow = py_caller:start(fun() -> py_session:eval(Other, "import time\ntime.sleep(1)\nx") end),
    Session = open(),
    undefined = py_session:eval(Session, "x = 2"),
    Forged = fun(Kind, Value) -> failure(fun() -> written(Session, {Kind, next_id(Session), Value}) end) end,
    ?assertEqual({no_failure, forged}, Forged(r, {true, forged})),
    %% The true answer was one too many: that ended it.
    ?assertMatch({py, {session_restarted, _}}, failure(fun() -> py_session:eval(Session, "1") end)),
    [
        begin
            undefined = py_session:eval(Session, "x = 2"),
            ?assertMatch({Value, {py, _}}, {Value, Forged(Kind, Value)}),
            ?assertMatch({py, {session_restarted, _}}, failure(fun() -> py_session:eval(Session, "x") end))
        end
     || {Kind, Value} <- [{r, {true, self()}}, {e, {py, {session_restarted, tea}}}, {e, {py, session_closed}}]
    ],
    %% Numbers of calls that the others have.
    ?assertEqual({ok, 1}, py_caller:result(Slow)),
    ?assertMatch(#{restarts := 0}, py_session:status(Other)),
    ?assertEqual(3, py:add(1, 2)).

what_is_no_answer_ends_it(_Config) ->
    Test = self(),
    Session = open(),
    py_session:init(Session, fun(S) -> Test ! init, py_session:define(S, x, 1) end),
    [
        begin
            ?assertEqual(1, py_session:eval(Session, "x")),
            ?assertMatch({Term, {py, {session_restarted, {protocol, _}}}}, {Term, failure(fun() -> written(Session, Term) end)})
        end
     || Term <- [{r, 1_000_000, a}, {'Z', 1}, {'P', {self()}}]
    ],
    ?assertEqual(1, py_session:eval(Session, "x")),
    ?assertEqual([init, init, init, init], py_application:messages()),
    %% A message to a process is dropped.
    #{session := {'$py.session', Server}} = py_session:status(Session),
    undefined = written(Session, {'M', Server, {'$gen_cast', {over, self(), closed}}}),
    undefined = written(Session, {'M', self(), hello}),
    ?assertEqual(1, py_session:eval(Session, "x")),
    ?assertEqual([], py_application:messages()).

atoms_of_one_are_not_missing_in_another(_Config) ->
    #{session := Most} = py_config:max_sandbox_atoms(),
    [A, B] = [open(), open()],
    Prefix = integer_to_list(erlang:unique_integer([positive])),
    Atoms = fun(Session, Letter, Count) ->
        py_session:eval(
            Session,
            io_lib:format("import erl\n[erl.Atom(f'py_session_~ts~ts_{n}') for n in range(~w)]", [Letter, Prefix, Count])
        )
    end,
    ?assertError({py, {encode, _}}, Atoms(A, "a", Most + 1)),
    ?assertEqual(Most, length(Atoms(A, "b", Most))),
    ?assertError({py, {encode, _}}, Atoms(A, "c", 1)),
    ?assertEqual(10, length(Atoms(B, "d", 10))),
    %% Its next Python has no new one.
    ?assertError({py, {session_restarted, _}}, py_session:eval(A, "import os\nos._exit(1)")),
    ?assertError({py, {encode, _}}, Atoms(A, "c", 1)).

it_calls_only_what_is_listed(_Config) ->
    Sum = "import erl\nerl.call('lists', 'sum', [[1, 2]])",
    ?assertMatch({callback_not_allowed, _}, failure(fun() -> py_session:eval(open(), Sum) end)),
    ?assertEqual(3, py_session:eval(open(#{callbacks => [{lists, sum}]}), Sum)),
    ?assertError(badarg, open(#{callbacks => all})).

modules_of_other_nodes_are_not_told_to_it(_Config) ->
    Boxed = open(),
    undefined = py_session:eval(Boxed, "import sys\nimport erl.calls.pushed\ntold = []\nerl.calls.pushed.take = lambda *args: told.append(args)"),
    Free = py_session:open(#{persistent => true}),
    undefined = py_session:eval(Free, "import sys\npath = list(sys.path)"),
    Version = {erlang:system_time(microsecond), 'py_other@nowhere'},
    ok = py_cluster_modules:take({<<"py_session_tea">>, Version, [{<<"py_session_tea.py">>, <<"kind = 'green'\n">>}]}),
    ?assertEqual([], py_session:eval(Boxed, "told")),
    ?assertEqual("green", py_session:eval(Free, "import py_session_tea\npy_session_tea.kind")).
