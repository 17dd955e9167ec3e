%%% Workers that are forked from a Python which has imported their modules: what they are, who can die when, and that nothing of
%%% them stays.
-module(py_zygote_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2, log/2]).
-export([
    modules_are_imported_once_for_all_workers/1,
    a_fork_is_known_by_its_own_number/1,
    what_a_fork_prints_and_writes_arrives/1,
    a_fork_that_ends_says_how/1,
    a_killed_fork_is_replaced_from_the_same_zygote/1,
    a_call_past_its_deadline_is_interrupted_or_killed/1,
    a_killed_stub_costs_its_worker_its_python/1,
    a_zygote_that_ends_with_a_fork_nobody_knows_leaves_one_python/1,
    forks_outlive_their_zygote_and_the_next_start_makes_another/1,
    forks_serve_while_their_zygote_is_stopped/1,
    a_killed_stub_ends_its_fork_while_the_zygote_is_stopped/1,
    no_call_begins_twice_where_only_the_stub_is_killed/1,
    the_process_that_has_the_zygotes_is_nobodys_end/1,
    a_killed_worker_process_leaves_no_fork/1,
    a_killed_beam_leaves_nothing/1,
    stopping_leaves_nothing/1,
    a_zygote_that_nobody_uses_ends/1,
    pools_share_a_zygote_that_would_be_the_same/1,
    each_fork_draws_numbers_of_its_own/1,
    memory_is_what_a_fork_does_not_share/1,
    a_worker_is_renewed_after_its_calls/1,
    a_child_of_a_fork_is_left_alone_and_ends_with_it/1,
    a_changed_source_is_imported_by_the_next/1,
    where_threads_run_workers_start_without/1,
    a_module_that_fails_to_import_is_told/1,
    a_sandbox_is_forked_from_nothing/1,
    sessions_are_forked_too/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        modules_are_imported_once_for_all_workers,
        a_fork_is_known_by_its_own_number,
        what_a_fork_prints_and_writes_arrives,
        a_fork_that_ends_says_how,
        a_killed_fork_is_replaced_from_the_same_zygote,
        a_call_past_its_deadline_is_interrupted_or_killed,
        a_killed_stub_costs_its_worker_its_python,
        a_zygote_that_ends_with_a_fork_nobody_knows_leaves_one_python,
        forks_outlive_their_zygote_and_the_next_start_makes_another,
        forks_serve_while_their_zygote_is_stopped,
        a_killed_stub_ends_its_fork_while_the_zygote_is_stopped,
        no_call_begins_twice_where_only_the_stub_is_killed,
        the_process_that_has_the_zygotes_is_nobodys_end,
        a_killed_worker_process_leaves_no_fork,
        a_killed_beam_leaves_nothing,
        stopping_leaves_nothing,
        a_zygote_that_nobody_uses_ends,
        pools_share_a_zygote_that_would_be_the_same,
        each_fork_draws_numbers_of_its_own,
        memory_is_what_a_fork_does_not_share,
        a_worker_is_renewed_after_its_calls,
        a_child_of_a_fork_is_left_alone_and_ends_with_it,
        a_changed_source_is_imported_by_the_next,
        where_threads_run_workers_start_without,
        a_module_that_fails_to_import_is_told,
        a_sandbox_is_forked_from_nothing,
        sessions_are_forked_too
    ].

init_per_testcase(_, Config) ->
    case os:type() of
        {unix, linux} ->
            ok = py_application:start([{default, none}]),
            Config;
        _ ->
            {skip, "forks are Linux's only: pidfd_open(2)"}
    end.

end_per_testcase(_, _Config) -> py_application:stop_sessions().

pool(Config, Options) ->
    maps:merge(#{size => 1, python_path => [?config(data_dir, Config)], preload => [py_warm]}, Options).

start(Config) -> start(Config, #{}).

start(Config, Options) ->
    {ok, _} = py:start_pool(warm, pool(Config, Options)),
    ok.

call(Function, Args) -> call(Function, Args, #{}).

call(Function, Args, Options) -> py:func(py_warm, Function, Args, maps:merge(#{pool => warm}, Options)).

%% The process of the pool's worker, and its zygote.
who() ->
    {Fork, Zygote, Fork, Zygote} = call(who, []),
    [#{os_pid := Fork}] = py:workers(warm),
    {Fork, Zygote}.

failure(Fun) ->
    try Fun() of
        Value -> {no_failure, Value}
    catch
        error:Reason -> Reason
    end.

stubs() -> [Pid || {Pid, Command} <- py_os_process:descendants(), string:find(Command, "stub.py") =/= nomatch].

zygotes() -> [Pid || {Pid, Command} <- py_os_process:descendants(), string:find(Command, "--zygote=") =/= nomatch, is_own(Pid)].

%% A fork has the command line of its zygote.
is_own(Pid) -> not lists:member(Pid, [OsPid || #{os_pid := OsPid} <- py:workers()]).

signal(Name, OsPid) -> "" = os:cmd("kill -s " ++ Name ++ " " ++ integer_to_list(OsPid)).

gone(OsPids) -> py_eventually:equals([], fun() -> [Pid || Pid <- OsPids, py_os_process:alive(Pid)] end).

modules_are_imported_once_for_all_workers(Config) ->
    Notes = filename:join(?config(priv_dir, Config), "imported"),
    start(Config, #{size => 4, env => [{"PY_WARM_NOTES", Notes}], import => ["xml.dom"]}),
    Workers = py:workers(warm),
    Told = [py:func(py_warm, who, [], #{worker => Worker}) || #{worker := Worker} <- Workers],
    ?assertEqual([OsPid || #{os_pid := OsPid} <- Workers], [Pid || {Pid, _, _, _} <- Told]),
    [Zygote] = lists:usort([Parent || {_, Parent, _, _} <- Told]),
    ?assertEqual({ok, integer_to_binary(Zygote)}, trimmed(file:read_file(Notes))),
    ?assert(py:func(operator, contains, [py:const('sys.modules', #{worker => map_get(worker, hd(Workers))}), <<"xml.dom">>])).

trimmed({ok, Text}) -> {ok, string:trim(Text)}.

a_fork_is_known_by_its_own_number(Config) ->
    start(Config),
    {Fork, Zygote} = who(),
    ?assertEqual([Zygote], zygotes()),
    ?assertNot(lists:member(Fork, stubs())),
    ?assertEqual(Fork, py:func(os, getpgid, [0], #{pool => warm})),
    ?assertEqual("-c", hd(py:const('sys.argv', #{pool => warm}))),
    [#{memory_bytes := Bytes}] = py:workers(warm),
    ?assert(Bytes > 40_000_000).

what_a_fork_prints_and_writes_arrives(Config) ->
    start(Config),
    {undefined, Leader} = py_output:of_call(fun() -> py:func(builtins, print, [<<"from a fork">>], #{pool => warm}) end),
    py_eventually:equals("from a fork\n", fun() -> py_output:text(Leader) end),
    py_output:stop(Leader),
    12 = py:func(os, write, [2, {bytes, <<"last words.\n">>}], #{pool => warm}),
    ?assertMatch({py, {worker_down, {exit_status, 3, "last words."}}}, failure(fun() -> py:func(os, '_exit', [3], #{pool => warm}) end)).

a_fork_that_ends_says_how(Config) ->
    start(Config, #{restart => #{max => 20}}),
    [
        ?assertMatch({py, {worker_down, {Kind, Number, _}}}, failure(Fun))
     || {Kind, Number, Fun} <- [
            {exit_status, 9, fun() -> py:func(os, '_exit', [9], #{pool => warm}) end},
            {exit_status, 0, fun() -> py:func(os, '_exit', [0], #{pool => warm}) end},
            {signal, 11, fun() -> py:func(ctypes, string_at, [0], #{pool => warm}) end},
            {signal, 6, fun() -> py:func(os, abort, [], #{pool => warm}) end}
        ]
    ].

a_killed_fork_is_replaced_from_the_same_zygote(Config) ->
    start(Config),
    {Fork, Zygote} = who(),
    py_os_process:kill(Fork),
    py_eventually:holds(fun() -> [#{os_pid := OsPid, state := State}] = py:workers(warm), OsPid =/= Fork andalso State =:= serving end),
    ?assertMatch({_, Zygote}, who()),
    ?assertMatch([_], stubs()).

a_call_past_its_deadline_is_interrupted_or_killed(Config) ->
    start(Config, #{kill_after => 30_000}),
    {Fork, _} = who(),
    ?assertEqual({py, timeout}, failure(fun() -> py:func(time, sleep, [60], #{pool => warm, timeout => 100}) end)),
    ?assertMatch({Fork, _}, who()),
    ok = py:stop_pool(warm),
    start(Config, #{kill_after => 0}),
    {Stuck, Zygote} = who(),
    %% C code that heeds no signal.
    Forever = fun() -> py:func(collections, deque, [py:func(itertools, repeat, [1], #{pool => warm}), 0], #{timeout => 100}) end,
    ?assertEqual({py, timeout}, failure(Forever)),
    gone([Stuck]),
    ?assertMatch({_, Zygote}, who()).

a_killed_stub_costs_its_worker_its_python(Config) ->
    start(Config),
    {Fork, Zygote} = who(),
    [Stub] = stubs(),
    Call = spawn_monitor(fun() -> exit(failure(fun() -> py:func(time, sleep, [60], #{pool => warm}) end)) end),
    py_eventually:holds(fun() -> [#{in_flight := Open}] = py:workers(warm), Open =:= 1 end),
    py_os_process:kill(Stub),
    ?assertMatch({py, {worker_down, {signal, 9, _}}}, ended(Call)),
    gone([Fork]),
    ?assertMatch({_, Zygote}, who()).

ended({Pid, Monitor}) -> receive {'DOWN', Monitor, process, Pid, Reason} -> Reason end.

a_zygote_that_ends_with_a_fork_nobody_knows_leaves_one_python(Config) ->
    start(Config, #{preload => [py_breaking]}),
    [#{os_pid := OsPid}] = py:workers(warm),
    %% The other one would have the pipe, too, and take some of them, as soon as it is there.
    Served = fun() ->
        undefined = py:func(time, sleep, [0.01], #{pool => warm, timeout => 5_000}),
        py:func(os, getpid, [], #{pool => warm, timeout => 5_000})
    end,
    ?assertEqual([OsPid], lists:usort([Served() || _ <- lists:seq(1, 100)])),
    py_eventually:equals([], fun zygotes/0).

forks_outlive_their_zygote_and_the_next_start_makes_another(Config) ->
    start(Config),
    {Fork, Zygote} = who(),
    py_os_process:kill(Zygote),
    gone([Zygote]),
    ?assertMatch({Fork, _, Fork, Zygote}, call(who, [])),
    %% Nobody can say how it ended: but that it did, and soon.
    ?assertMatch({py, {worker_down, {exit_status, 70, _}}}, failure(fun() -> py:func(os, '_exit', [9], #{pool => warm}) end)),
    {_, Other} = who(),
    ?assertNotEqual(Zygote, Other).

forks_serve_while_their_zygote_is_stopped(Config) ->
    start(Config, #{kill_after => 0}),
    {Fork, Zygote} = who(),
    signal("STOP", Zygote),
    ?assertMatch({Fork, _, _, _}, call(who, [])),
    ?assertMatch({py, {worker_down, _}}, failure(fun() -> py:func(os, '_exit', [9], #{pool => warm}) end)),
    {_, Other} = who(),
    ?assertNotEqual(Zygote, Other),
    gone([Zygote]),
    ?assertEqual([Other], zygotes()).

a_killed_stub_ends_its_fork_while_the_zygote_is_stopped(Config) ->
    start(Config),
    {Fork, Zygote} = who(),
    [Stub] = stubs(),
    signal("STOP", Zygote),
    py_os_process:kill(Stub),
    gone([Fork]),
    ?assertMatch({_, _}, who()),
    gone([Zygote]).

%% The fork has hundreds of calls in its pipe, and nobody but the worker process ends it.
no_call_begins_twice_where_only_the_stub_is_killed(Config) ->
    File = filename:join(?config(priv_dir, Config), "begun"),
    Path = unicode:characters_to_binary(File),
    start(Config),
    {_, Zygote} = who(),
    [Stub] = stubs(),
    signal("STOP", Zygote),
    Calls = [{Number, spawn_monitor(fun() -> exit(catch call(note, [Path, Number])) end)} || Number <- lists:seq(1, 1_000)],
    py_eventually:holds(fun() -> filelib:file_size(File) > 100 end),
    py_os_process:kill(Stub),
    Failed = [{Number, Reason} || {Number, Call} <- Calls, Reason <- [ended(Call)], Reason =/= undefined],
    ?assertMatch([{_, {'EXIT', {{py, {worker_down, {signal, 9, _}}}, _}}}], Failed),
    {ok, Text} = file:read_file(File),
    Noted = [binary_to_integer(Line) || Line <- binary:split(Text, <<"\n">>, [global, trim_all])],
    ?assertEqual([], Noted -- lists:usort(Noted)),
    %% What the death took may have come as far as its note, or not.
    ?assertEqual([], lists:seq(1, 1_000) -- (Noted ++ [Number || {Number, _} <- Failed])).

the_process_that_has_the_zygotes_is_nobodys_end(Config) ->
    start(Config),
    {Fork, Zygote} = who(),
    Before = whereis(py_zygote),
    Supervisor = whereis(py_pools_sup),
    exit(Before, kill),
    gone([Zygote]),
    py_eventually:holds(fun() -> is_pid(whereis(py_zygote)) andalso whereis(py_zygote) =/= Before end),
    ?assertMatch({Fork, _, _, _}, call(who, [])),
    ?assertEqual(Supervisor, whereis(py_pools_sup)),
    py_os_process:kill(Fork),
    py_eventually:holds(fun() -> [#{os_pid := OsPid, state := State}] = py:workers(warm), OsPid =/= Fork andalso State =:= serving end),
    {_, Other} = who(),
    ?assertNotEqual(Zygote, Other).

a_killed_worker_process_leaves_no_fork(Config) ->
    start(Config),
    {Fork, Zygote} = who(),
    [Stub] = stubs(),
    [#{worker := Worker}] = py:workers(warm),
    Call = spawn_monitor(fun() -> exit(failure(fun() -> py:func(time, sleep, [60], #{pool => warm}) end)) end),
    py_eventually:holds(fun() -> [#{in_flight := Open}] = py:workers(warm), Open =:= 1 end),
    exit(Worker, kill),
    ?assertMatch({py, {worker_down, _}}, ended(Call)),
    gone([Fork, Stub]),
    py_eventually:holds(fun() -> [serving] =:= [State || #{state := State} <- py:workers(warm)] end),
    ?assertMatch({_, Zygote}, who()).

a_killed_beam_leaves_nothing(Config) ->
    Expression =
        "application:load(py), application:set_env(py, pools, [{default, #{size => 2, preload => [py_warm], python_path => [\"" ++
            ?config(data_dir, Config) ++ "\"]}}]), {ok, started} = py:start(), "
            "spawn(fun() -> py:func(collections, deque, [py:func(itertools, repeat, [1]), 0]) end)",
    Ebin = filename:dirname(filename:absname(code:where_is_file("py.app"))),
    Port = open_port({spawn_executable, os:find_executable("erl")}, [
        {args, ["-noinput", "-pa", Ebin, "-eval", Expression ++ "."]}, exit_status, hide
    ]),
    {os_pid, Beam} = erlang:port_info(Port, os_pid),
    %% A zygote, two stubs and two forks.
    Pythons = fun() -> [Pid || {Pid, Command} <- py_os_process:descendants(Beam), string:find(Command, "py-watchdog") =:= nomatch, string:find(Command, "python") =/= nomatch] end,
    py_eventually:equals(5, fun() -> length(Pythons()) end),
    All = Pythons(),
    py_os_process:kill(Beam),
    gone(All),
    receive {Port, {exit_status, _}} -> ok after 5_000 -> ct:fail(beam_lives) end.

stopping_leaves_nothing(Config) ->
    start(Config, #{size => 3}),
    Everything = py_os_process:descendants(),
    Directory = filename:dirname(py_directory:path("x")),
    {ok, stopped} = py:stop(),
    %% At once: no polling here.
    ?assertEqual([], [{Pid, Command} || {Pid, Command} <- Everything, py_os_process:alive(Pid)]),
    ?assertNot(filelib:is_dir(Directory)),
    {ok, started} = py:start().

a_zygote_that_nobody_uses_ends(Config) ->
    start(Config),
    {_, Zygote} = who(),
    ok = py:stop_pool(warm),
    ?assertEqual([], stubs()),
    gone([Zygote]),
    start(Config),
    ?assertMatch({_, _}, who()).

pools_share_a_zygote_that_would_be_the_same(Config) ->
    start(Config, #{env => [{"TEA", "green"}]}),
    {_, Zygote} = who(),
    {ok, _} = py:start_pool(same, pool(Config, #{env => [{"TEA", "green"}], max_calls => 100})),
    {ok, _} = py:start_pool(other, pool(Config, #{env => [{"TEA", "black"}]})),
    ?assertMatch({_, Zygote, _, _}, py:func(py_warm, who, [], #{pool => same})),
    {_, Other, _, Other} = py:func(py_warm, who, [], #{pool => other}),
    ?assertNotEqual(Zygote, Other),
    ?assertEqual(["green", "green", "black"], [py:func(py_warm, variable, [<<"TEA">>], #{pool => Pool}) || Pool <- [warm, same, other]]),
    ?assertEqual(2, length(zygotes())),
    py_application:with_environment([{"PY_LATER", "set"}], fun() ->
        ok = py:restart_pool(same),
        ?assertEqual("set", py:func(py_warm, variable, [<<"PY_LATER">>], #{pool => same}))
    end),
    %% What libraries of numerics are told while they are loaded is not the workers'.
    ?assertEqual(undefined, call(variable, [<<"OMP_NUM_THREADS">>])).

each_fork_draws_numbers_of_its_own(Config) ->
    HasNumpy = has_numpy(Config),
    start(Config, #{size => 4, preload => [py_warm | ['numpy.random' || HasNumpy]]}),
    [
        ?assertEqual(4, length(lists:usort([py:func(py_warm, Draw, [], #{worker => Worker}) || #{worker := Worker} <- py:workers(warm)])))
     || Draw <- [draw | [draw_of_numpy || HasNumpy]]
    ].

has_numpy(Config) ->
    {ok, _} = py:start_pool(plain, pool(Config, #{preload => []})),
    Found = py:func('importlib.util', find_spec, [<<"numpy">>], #{pool => plain}),
    ok = py:stop_pool(plain),
    Found =/= undefined.

memory_is_what_a_fork_does_not_share(Config) ->
    start(Config, #{max_memory => 64_000_000}),
    {Fork, _} = who(),
    %% What it has from its zygote is 40 MB, and more than half of what it may have.
    ?assert(py_launcher:own_bytes(Fork) > 40_000_000),
    ?assert(py_launcher:private_bytes(Fork) < 16_000_000),
    undefined = call(keep, [20_000_000]),
    ?assertMatch({Fork, _}, who()),
    ?assertMatch({python, 'builtins.MemoryError', _, _}, failure(fun() -> call(keep, [60_000_000]) end)),
    %% With three quarters of it, it is replaced.
    _ = failure(fun() -> call(keep, [26_000_000]) end),
    py_eventually:holds(fun() ->
        _ = failure(fun() -> py:func(time, sleep, [0.06], #{pool => warm}) end),
        [#{os_pid := OsPid}] = py:workers(warm),
        OsPid =/= Fork
    end).

a_worker_is_renewed_after_its_calls(Config) ->
    start(Config, #{max_calls => 20}),
    Forks = lists:usort([Fork || _ <- lists:seq(1, 100), {Fork, _, _, _} <- [call(who, [])]]),
    ?assert(length(Forks) > 2),
    gone(Forks -- [OsPid || #{os_pid := OsPid} <- py:workers(warm)]).

a_child_of_a_fork_is_left_alone_and_ends_with_it(Config) ->
    start(Config),
    {Fork, _} = who(),
    Child = call(fork_and_leave_a_child, [60]),
    ?assert(py_os_process:alive(Child)),
    ?assertMatch({Fork, _}, who()),
    ?assertMatch({py, {worker_down, {exit_status, 9, _}}}, failure(fun() -> py:func(os, '_exit', [9], #{pool => warm}) end)),
    gone([Child]),
    %% One that keeps the port's pipes open.
    ?assertMatch({py, {worker_down, {exit_status, 5, _}}}, failure(fun() -> call(leave_with_a_child, [60]) end)),
    ?assertMatch({_, _}, who()).

a_changed_source_is_imported_by_the_next(Config) ->
    Directory = filename:join(?config(priv_dir, Config), "sources"),
    Source = filename:join(Directory, "py_tea.py"),
    ok = filelib:ensure_dir(Source),
    ok = file:write_file(Source, "kind = 'green'\n"),
    %% Older than the zygote, or it would count as changed.
    ok = file:change_time(Source, {{2020, 1, 1}, {0, 0, 0}}),
    start(Config, #{size => 2, python_path => [?config(data_dir, Config), Directory], preload => [py_warm, py_tea]}),
    Kinds = fun() -> [py:const('py_tea.kind', #{worker => Worker}) || #{worker := Worker} <- py:workers(warm)] end,
    ?assertEqual(["green", "green"], Kinds()),
    [Zygote] = zygotes(),
    [#{worker := First} | _] = py:workers(warm),
    ok = py:restart_worker(First),
    ?assertEqual([Zygote], zygotes()),
    ok = file:write_file(Source, "kind = 'black'\n"),
    ok = py:restart_worker(First),
    ?assertEqual("black", py:const('py_tea.kind', #{worker => First})),
    ?assertEqual(["black", "green"], lists:sort(Kinds())),
    %% The former zygote says how its last fork ends, and goes.
    ok = py:restart_pool(warm),
    ?assertEqual(["black", "black"], Kinds()),
    gone([Zygote]).

where_threads_run_workers_start_without(Config) ->
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{to => self()}, level => warning}),
    try
        start(Config, #{size => 2, preload => [py_threaded, py_warm]}),
        receive {logged, Text} -> ?assertNotEqual(nomatch, string:find(Text, "py_threaded")) after 5_000 -> ct:fail(nothing_logged) end
    after
        ok = logger:remove_handler(?MODULE)
    end,
    [?assertMatch({Pid, _, Pid, Pid}, py:func(py_warm, who, [], #{worker => Worker})) || #{worker := Worker, os_pid := Pid} <- py:workers(warm)],
    ok = py:restart_pool(warm),
    ?assertEqual([], py_application:messages()),
    ?assertEqual([], stubs()).

log(#{msg := Message, meta := Meta}, #{config := #{to := To}}) ->
    case Message of
        {Format, Args} when is_list(Args) -> To ! {logged, unicode:characters_to_list(io_lib:format(Format, Args))};
        _ -> To ! {logged, lists:flatten(io_lib:format("~p ~p", [Message, Meta]))}
    end.

a_module_that_fails_to_import_is_told(Config) ->
    {error, {py, {start, cold, Reason}}} = py:start_pool(cold, pool(Config, #{preload => [py_warm, py_not_there]})),
    ?assertMatch({start, {import, {python, 'builtins.OSError', "no such model", _}}}, Reason),
    ?assertEqual([], zygotes()),
    ?assertEqual([], stubs()).

a_sandbox_is_forked_from_nothing(Config) ->
    ?assertError(badarg, py:start_pool(boxed, pool(Config, #{sandbox => bwrap}))),
    ?assertError(badarg, py:start_pool(boxed, pool(Config, #{preload => "numpy"}))).

sessions_are_forked_too(Config) ->
    Session = py_session:open(pool_of_session(Config)),
    ?assertEqual(true, py_session:eval(Session, "import os, py_warm\nx = os.getppid() == py_warm.made_by\nx")),
    py_session:close(Session).

pool_of_session(Config) -> maps:remove(size, pool(Config, #{persistent => true})).
