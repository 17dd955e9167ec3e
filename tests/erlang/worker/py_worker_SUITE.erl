%%% Workers: pools, the choice of one, interpreters, restarts, deadlines, output, calls back, ends.
-module(py_worker_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_testcase/2, end_per_testcase/2]).
%% Pools.
-export([
    pools_are_started_and_stopped_one_by_one/1,
    pools_come_from_sys_config/1,
    a_pool_sets_environment_directory_and_path/1,
    workers_and_status_tell_what_each_is_doing/1,
    what_to_do_about_the_codec_in_python_is_said/1,
    least_busy_passes_by_the_busy_workers/1,
    parallel_calls_spread_over_all_workers/1,
    callers_of_the_same_moment_get_an_idle_worker_each/1,
    round_robin_takes_turns/1,
    random_takes_any_worker/1,
    no_scheduler_chooses_a_worker_without_python/1,
    on_start_runs_before_the_first_call_and_after_each_restart/1,
    a_pool_whose_on_start_fails_does_not_start/1,
    modules_are_imported_before_the_first_call_and_after_each_restart/1,
    a_pool_with_a_module_that_fails_to_import_does_not_start/1
]).
%% Interpreters.
-export([
    the_interpreter_is_the_first_that_was_given/1,
    a_broken_choice_is_an_error_and_never_falls_through/1,
    a_program_that_is_no_python_is_named_with_what_it_said/1,
    a_banner_on_standard_output_hurts_nobody/1,
    an_interpreter_that_says_nothing_is_given_up_after_its_start_timeout/1,
    a_python_that_is_too_old_is_refused_with_its_version/1,
    a_python_without_erlang_py_is_told_what_to_install/1,
    a_python_without_erl_bridge_gets_it_from_the_application/1
]).
%% Ends and restarts.
-export([
    a_worker_killed_while_idle_is_replaced/1,
    a_worker_killed_while_busy_fails_its_call_and_no_other/1,
    a_call_waits_for_the_worker_that_is_being_replaced/1,
    a_worker_beyond_its_restart_budget_is_degraded_and_says_why/1,
    a_worker_process_that_is_killed_is_replaced_and_leaves_no_python/1,
    sys_exit_is_an_exception_like_any_other/1,
    os_exit_costs_its_call_and_the_interpreter/1,
    a_segmentation_fault_costs_its_call_and_the_interpreter/1,
    stopping_answers_the_calls_that_are_open/1,
    no_python_outlives_a_beam_that_was_killed/1
]).
%% Deadlines.
-export([
    a_caller_is_answered_in_time_and_the_worker_serves_on/1,
    a_call_that_outlives_its_deadline_is_killed/1,
    a_call_made_while_an_unwanted_one_runs_is_not_killed_with_it/1,
    a_timeout_changes_no_other_call/1,
    a_pool_has_a_timeout_for_all_its_calls/1
]).
%% Output.
-export([
    print_goes_to_the_group_leader_of_each_caller/1,
    logging_goes_to_logger/1,
    a_pool_says_from_which_level_on_it_logs/1,
    writing_to_descriptor_1_hurts_nobody/1,
    standard_input_is_empty/1
]).
%% Calls back and other nodes.
-export([
    python_calls_erlang/1,
    an_erlang_error_is_a_python_exception/1,
    calls_nest_on_one_worker/1,
    every_thread_calls_and_casts/1,
    messages_reach_the_message_handler/1,
    the_node_option_calls_on_another_node/1
]).
%% The handler of `logger', and what Python calls.
-export([log/2, countdown/2, throw_ball/0]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [
        {pools, [], [
            pools_are_started_and_stopped_one_by_one,
            pools_come_from_sys_config,
            a_pool_sets_environment_directory_and_path,
            workers_and_status_tell_what_each_is_doing,
            what_to_do_about_the_codec_in_python_is_said,
            least_busy_passes_by_the_busy_workers,
            parallel_calls_spread_over_all_workers,
            callers_of_the_same_moment_get_an_idle_worker_each,
            round_robin_takes_turns,
            random_takes_any_worker,
            no_scheduler_chooses_a_worker_without_python,
            on_start_runs_before_the_first_call_and_after_each_restart,
            a_pool_whose_on_start_fails_does_not_start,
            modules_are_imported_before_the_first_call_and_after_each_restart,
            a_pool_with_a_module_that_fails_to_import_does_not_start
        ]},
        {interpreters, [], [
            the_interpreter_is_the_first_that_was_given,
            a_broken_choice_is_an_error_and_never_falls_through,
            a_program_that_is_no_python_is_named_with_what_it_said,
            a_banner_on_standard_output_hurts_nobody,
            an_interpreter_that_says_nothing_is_given_up_after_its_start_timeout,
            a_python_that_is_too_old_is_refused_with_its_version,
            a_python_without_erlang_py_is_told_what_to_install,
            a_python_without_erl_bridge_gets_it_from_the_application
        ]},
        {ends, [], [
            a_worker_killed_while_idle_is_replaced,
            a_worker_killed_while_busy_fails_its_call_and_no_other,
            a_call_waits_for_the_worker_that_is_being_replaced,
            a_worker_beyond_its_restart_budget_is_degraded_and_says_why,
            a_worker_process_that_is_killed_is_replaced_and_leaves_no_python,
            sys_exit_is_an_exception_like_any_other,
            os_exit_costs_its_call_and_the_interpreter,
            a_segmentation_fault_costs_its_call_and_the_interpreter,
            stopping_answers_the_calls_that_are_open,
            no_python_outlives_a_beam_that_was_killed
        ]},
        {deadlines, [], [
            a_caller_is_answered_in_time_and_the_worker_serves_on,
            a_call_that_outlives_its_deadline_is_killed,
            a_call_made_while_an_unwanted_one_runs_is_not_killed_with_it,
            a_timeout_changes_no_other_call,
            a_pool_has_a_timeout_for_all_its_calls
        ]},
        {output, [], [
            print_goes_to_the_group_leader_of_each_caller,
            logging_goes_to_logger,
            a_pool_says_from_which_level_on_it_logs,
            writing_to_descriptor_1_hurts_nobody,
            standard_input_is_empty
        ]},
        {calls_back, [], [
            python_calls_erlang,
            an_erlang_error_is_a_python_exception,
            calls_nest_on_one_worker,
            every_thread_calls_and_casts,
            messages_reach_the_message_handler,
            the_node_option_calls_on_another_node
        ]}
    ].

init_per_testcase(_, Config) ->
    ok = py_application:start([{default, pool(Config, #{size => 2})}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

pool(Config, Options) -> maps:merge(#{size => 1, python_path => [?config(data_dir, Config)]}, Options).

%%% Pools

pools_are_started_and_stopped_one_by_one(Config) ->
    [Default, _] = os_pids(default),
    {ok, Pid} = py:start_pool(one, pool(Config, #{})),
    {ok, _} = py:start_pool(two, pool(Config, #{size => 3})),
    ?assert(is_pid(Pid)),
    [One] = os_pids(one),
    ?assertMatch([_, _, _], os_pids(two)),
    ?assertEqual(6, length(lists:usort(os_pids()))),
    ?assertEqual(One, py:func(os, getpid, #{pool => one})),
    ?assertEqual({error, {py, {already_started, Pid}}}, py:start_pool(one, pool(Config, #{}))),
    ?assertEqual(ok, py:stop_pool(one)),
    %% At once: no polling here.
    ?assertNot(py_os_process:alive(One)),
    ?assertError({py, {unknown_pool, one}}, py:func(os, getpid, #{pool => one})),
    ?assertEqual({error, {py, {unknown_pool, one}}}, py:stop_pool(one)),
    ?assert(lists:member(py:func(os, getpid, #{pool => two}), os_pids(two))),
    ?assert(lists:member(Default, os_pids(default))),
    %% A name can be used again.
    {ok, _} = py:start_pool(one, pool(Config, #{})),
    [Again] = os_pids(one),
    ?assertEqual(Again, py:func(os, getpid, #{pool => one})).

pools_come_from_sys_config(Config) ->
    File = filename:join(?config(priv_dir, Config), "sys.config"),
    Pools = [{default, #{size => 1}}, {ml, #{size => 2, dicts => map}}],
    ok = file:write_file(File, io_lib:format("[{py, [{pools, ~tp}]}].~n", [Pools])),
    ?assertEqual(
        "{1,2,#{}}",
        erl(["-config ", File, " -s py"], "{length(py:workers(default)), length(py:workers(ml)), py:func(builtins, dict, #{pool => ml})}")
    ).

a_pool_sets_environment_directory_and_path(Config) ->
    Directory = filename:absname(?config(priv_dir, Config)),
    {ok, _} = py:start_pool(here, pool(Config, #{cd => Directory, env => [{"PY_WORK", "ключ"}]})),
    {Value, Cwd} = py:func(py_work, environment, #{pool => here}),
    ?assertEqual("ключ", Value),
    ?assertEqual(Directory, string:trim(Cwd, trailing, "/")),
    {Unset, _} = py:func(py_work, environment),
    ?assertEqual(undefined, Unset),
    {ok, _} = py:start_pool(bare, #{size => 1}),
    ?assertError({python, 'builtins.ModuleNotFoundError', _, _}, py:func(py_work, environment, #{pool => bare})).

workers_and_status_tell_what_each_is_doing(Config) ->
    {ok, _} = py:start_pool(one, pool(Config, #{})),
    [Before] = py:workers(one),
    ?assertMatch(
        #{pool := one, state := serving, in_flight := 0, references := 0, restarts := 0, worker := _, os_pid := _,
            calls := _, uptime_ms := _},
        Before
    ),
    #{calls := Calls, worker := Worker} = Before,
    ?assert(is_process_alive(Worker)),
    3 = py:func(operator, add, [1, 2], #{pool => one}),
    Caller = busy(Config, #{pool => one}),
    [During] = py:workers(one),
    ?assertMatch(#{in_flight := 1, calls := After} when After =:= Calls + 1, During),
    {ok, Leader} = py_output:of_call(fun() -> py:status() end),
    Text = py_output:text(Leader),
    [?assertNotEqual(nomatch, string:find(Text, Word)) || Word <- ["default", "one", "serving", pid_to_list(Worker)]],
    py_output:stop(Leader),
    stop_caller(Caller).

what_to_do_about_the_codec_in_python_is_said(Config) ->
    Directory = py_uncompiled:directory(?config(priv_dir, Config)),
    {ok, _} = py:start_pool(uncompiled, #{size => 1, python_path => [Directory]}),
    ?assertMatch([#{codec := reference}], py:workers(uncompiled)),
    ?assertEqual([1, 2], py:func(builtins, list, [[1, 2]], #{pool => uncompiled})),
    {ok, Leader} = py_output:of_call(fun() -> py:status(uncompiled) end),
    Text = py_output:text(Leader),
    [?assertNotEqual(nomatch, string:find(Text, Words)) || Words <- ["interpreter of uncompiled", "py:doctor()"]],
    py_output:stop(Leader),
    Native = [#{pool => default, codec => native}],
    ?assertEqual("", lists:flatten(py_pool_table:codec_advice(Native))).

least_busy_passes_by_the_busy_workers(Config) ->
    {ok, _} = py:start_pool(three, pool(Config, #{size => 3})),
    Callers = [busy(Config, #{worker => Worker}) || #{worker := Worker} <- tl(py:workers(three))],
    [Idle | _] = os_pids(three),
    ?assertEqual([Idle], lists:usort([py:func(os, getpid, #{pool => three}) || _ <- lists:seq(1, 50)])),
    [stop_caller(Caller) || Caller <- Callers].

parallel_calls_spread_over_all_workers(Config) ->
    {ok, _} = py:start_pool(three, pool(Config, #{size => 3})),
    %% Three callers that each hold their worker until all three run: they would not end on fewer.
    Callers = [busy(Config, #{pool => three}) || _ <- lists:seq(1, 3)],
    ?assertEqual([1, 1, 1], [InFlight || #{in_flight := InFlight} <- py:workers(three)]),
    [stop_caller(Caller) || Caller <- Callers].

%% A third of the times two that look at the same time find the same worker idle.
callers_of_the_same_moment_get_an_idle_worker_each(Config) ->
    {ok, _} = py:start_pool(pair, pool(Config, #{size => 2})),
    InFlight = fun() -> [Calls || #{in_flight := Calls} <- py:workers(pair)] end,
    [
        begin
            Gate = atomics:new(2, []),
            Callers = [call(fun() -> at(Gate), py:func(time, sleep, [60], #{pool => pair}) end) || _ <- [1, 2]],
            py_eventually:equals(2, fun() -> atomics:get(Gate, 1) end),
            ok = atomics:put(Gate, 2, 1),
            py_eventually:equals(2, fun() -> lists:sum(InFlight()) end),
            ?assertEqual([1, 1], InFlight()),
            [stop_caller(Caller) || Caller <- Callers],
            py_eventually:equals([0, 0], InFlight)
        end
     || _ <- lists:seq(1, 40)
    ].

%% Both run when it opens.
at(Gate) ->
    atomics:add(Gate, 1, 1),
    through(Gate).

through(Gate) -> atomics:get(Gate, 2) =:= 1 orelse through(Gate).

round_robin_takes_turns(Config) ->
    {ok, _} = py:start_pool(turns, pool(Config, #{size => 3, scheduler => round_robin})),
    Served = [py:func(os, getpid, #{pool => turns}) || _ <- lists:seq(1, 9)],
    ?assertEqual([3, 3, 3], [length([P || P <- Served, P =:= OsPid]) || OsPid <- os_pids(turns)]),
    ?assertEqual(3, length(lists:usort(lists:sublist(Served, 3)))).

random_takes_any_worker(Config) ->
    {ok, _} = py:start_pool(dice, pool(Config, #{size => 2, scheduler => random})),
    py_eventually:equals(lists:sort(os_pids(dice)), fun() ->
        lists:usort([py:func(os, getpid, #{pool => dice}) || _ <- lists:seq(1, 20)])
    end).

no_scheduler_chooses_a_worker_without_python(Config) ->
    [
        begin
            Slow = #{max => 1, within => 60_000, delay => 30_000, max_delay => 60_000},
            {ok, _} = py:start_pool(Scheduler, pool(Config, #{size => 2, scheduler => Scheduler, restart => Slow})),
            [#{worker := Worker}, #{os_pid := Other}] = py:workers(Scheduler),
            %% The first death is forgiven at once, the second one not for half a minute.
            kill_worker(Worker),
            wait_serving(Worker),
            kill_worker(Worker),
            py_eventually:holds(fun() -> state(Worker) =/= serving end),
            ?assertEqual([Other], lists:usort([py:func(os, getpid, #{pool => Scheduler}) || _ <- lists:seq(1, 20)])),
            ok = py:stop_pool(Scheduler)
        end
     || Scheduler <- [least_busy, round_robin, random]
    ].

on_start_runs_before_the_first_call_and_after_each_restart(Config) ->
    File = filename:join(?config(priv_dir, Config), "started"),
    Path = unicode:characters_to_binary(File),
    {ok, _} = py:start_pool(warm, pool(Config, #{size => 2, on_start => {py_work, start, [Path]}})),
    ?assertEqual(lists:sort(os_pids(warm)), lists:sort(noted(File))),
    [
        ?assertEqual(1, py:func(py_work, times_started, [], #{worker => Worker}))
     || #{worker := Worker} <- py:workers(warm)
    ],
    [#{worker := Worker} | _] = py:workers(warm),
    kill_worker(Worker),
    wait_serving(Worker),
    ?assertEqual(3, length(noted(File))),
    ?assertEqual(1, py:func(py_work, times_started, [], #{worker => Worker})).

noted(File) ->
    {ok, Text} = file:read_file(File),
    [binary_to_integer(Line) || Line <- string:split(string:trim(Text), "\n", all)].

a_pool_whose_on_start_fails_does_not_start(Config) ->
    Before = os_pids(),
    Failing = pool(Config, #{on_start => {py_work, fail_to_start, []}}),
    {error, {py, {start, cold, Reason}} = Error} = py:start_pool(cold, Failing),
    ?assertMatch({start, {on_start, {python, 'builtins.OSError', "no such model", _}}}, Reason),
    contains(["cold", "on_start", "builtins.OSError: no such model", "in fail_to_start"], py_error:text(Error)),
    ?assertMatch(
        {error, {py, {start, cold, {start, {on_start, {python, 'builtins.AttributeError', _, _}}}}}},
        py:start_pool(cold, pool(Config, #{on_start => {py_work, no_such_function, []}}))
    ),
    {error, {py, {start, cold, {start, {failed, _, Said}}}}} = py:start_pool(cold, pool(Config, #{on_start => {os, '_exit', [3]}})),
    contains(["exit status 3", "on_start"], Said),
    ?assertMatch(
        {error, {py, {start, cold, {start, {no_answer, _, 300}}}}},
        py:start_pool(cold, pool(Config, #{on_start => {time, sleep, [60]}, start_timeout => 300}))
    ),
    ?assertEqual(Before, os_pids()),
    py_eventually:equals(lists:sort(Before), fun() -> lists:sort(py_os_process:pythons()) end).

%% The module takes a second to import. The first call finds it there, and so does `on_start'.
modules_are_imported_before_the_first_call_and_after_each_restart(Config) ->
    Names = [py_slow, <<"os.path">>, "xml.dom"],
    OnStart = {py_work, note_module, [<<"py_slow">>]},
    {ok, _} = py:start_pool(warm, pool(Config, #{size => 1, import => Names, on_start => OnStart})),
    IsReady = fun() ->
        [?assert(py:func(py_work, is_imported, [Name], #{pool => warm})) || Name <- [<<"py_slow">>, <<"os.path">>, <<"xml.dom">>]],
        ?assert(py:func(py_work, was_there, [], #{pool => warm})),
        ?assertEqual(1, py:func(py_slow, times_imported, [], #{pool => warm}))
    end,
    IsReady(),
    [#{worker := Worker}] = py:workers(warm),
    kill_worker(Worker),
    wait_serving(Worker),
    IsReady(),
    ?assertEqual(1, length(os_pids(warm))).

a_pool_with_a_module_that_fails_to_import_does_not_start(Config) ->
    Before = os_pids(),
    {error, {py, {start, cold, Reason}} = Error} = py:start_pool(cold, pool(Config, #{import => [py_broken_module]})),
    ?assertMatch({start, {import, {python, 'builtins.OSError', "no such model", _}}}, Reason),
    contains(["cold", "import", "builtins.OSError: no such model", "py_broken_module"], py_error:text(Error)),
    ?assertMatch(
        {error, {py, {start, cold, {start, {import, {python, 'builtins.ModuleNotFoundError', _, _}}}}}},
        py:start_pool(cold, pool(Config, #{import => ["os.path", "no.such.module"]}))
    ),
    ?assertMatch(
        {error, {py, {start, cold, {start, {no_answer, _, 700}}}}},
        py:start_pool(cold, pool(Config, #{import => [py_slow], start_timeout => 700, env => [{"PY_SLOW_SECONDS", "60"}]}))
    ),
    ?assertError(badarg, py:start_pool(cold, pool(Config, #{import => "numpy"}))),
    ?assertEqual(Before, os_pids()),
    py_eventually:equals(lists:sort(Before), fun() -> lists:sort(py_os_process:pythons()) end).

%%% Interpreters

%% A program that is the interpreter under test and says in its environment which choice it was.
marked(File, Mark) ->
    ok = filelib:ensure_dir(File),
    Python = py:const(sys, executable),
    Script = io_lib:format("#!/bin/sh\nPY_MARK='~ts' exec '~ts' \"$@\"~n", [Mark, Python]),
    ok = file:write_file(File, unicode:characters_to_binary(Script)),
    ok = file:change_mode(File, 8#755),
    File.

%% Which choice a new pool's interpreter was.
mark(Options) ->
    case py:start_pool(chosen, maps:merge(#{size => 1}, Options)) of
        {ok, _} ->
            Mark = py:func(os, getenv, [<<"PY_MARK">>], #{pool => chosen}),
            ok = py:stop_pool(chosen),
            Mark;
        {error, {py, {start, chosen, {start, Reason}}}} ->
            Reason
    end.

the_interpreter_is_the_first_that_was_given(Config) ->
    Directory = filename:absname(?config(priv_dir, Config)),
    Option = marked(filename:join([Directory, "option", "python"]), "option"),
    InVenvOption = filename:join(Directory, "venv_option"),
    marked(filename:join([InVenvOption, "bin", "python"]), "venv option"),
    Variable = marked(filename:join([Directory, "variable", "python"]), "PY_PYTHON"),
    Venv = filename:join(Directory, "venv"),
    marked(filename:join([Venv, "bin", "python"]), "VIRTUAL_ENV"),
    OnPath = filename:join(Directory, "path"),
    marked(filename:join([OnPath, "python3"]), "PATH"),
    marked(filename:join([OnPath, "my_python"]), "a name on PATH"),
    Path = OnPath ++ ":" ++ os:getenv("PATH"),
    Run = fun(Variables, Options) -> py_application:with_environment(Variables, fun() -> mark(Options) end) end,
    All = [{"PY_PYTHON", Variable}, {"VIRTUAL_ENV", Venv}, {"PATH", Path}],
    ?assertEqual("option", Run(All, #{python => Option})),
    ?assertEqual("option", Run(All, #{python => unicode:characters_to_binary(Option)})),
    ?assertEqual("venv option", Run(All, #{python => {venv, InVenvOption}})),
    ?assertEqual("a name on PATH", Run(All, #{python => "my_python"})),
    ?assertEqual("PY_PYTHON", Run(All, #{})),
    ?assertEqual("a name on PATH", Run([{"PY_PYTHON", "my_python"}, {"VIRTUAL_ENV", Venv}, {"PATH", Path}], #{})),
    ?assertEqual("VIRTUAL_ENV", Run([{"PY_PYTHON", false}, {"VIRTUAL_ENV", Venv}, {"PATH", Path}], #{})),
    %% An empty variable is no choice.
    ?assertEqual("VIRTUAL_ENV", Run([{"PY_PYTHON", ""}, {"VIRTUAL_ENV", Venv}, {"PATH", Path}], #{})),
    %% The last two need an installation of their own: one with a virtual environment beside it, one without.
    Rest = "PY_PYTHON= VIRTUAL_ENV= PATH='" ++ Path ++ "'",
    ?assertEqual("\"PATH\"", installed(filename:join(Directory, "without"), Rest)),
    With = filename:join(Directory, "with"),
    marked(filename:join([With, "py", "python", ".venv", "bin", "python"]), "checkout"),
    ?assertEqual("\"checkout\"", installed(With, Rest)).

%% The mark of the default pool where the application is installed in `Directory/py'.
installed(Directory, Environment) ->
    Ebin = filename:dirname(filename:absname(code:where_is_file("py.app"))),
    Home = filename:join(Directory, "py"),
    ok = filelib:ensure_dir(filename:join([Home, "priv", "x"])),
    ok = file:make_symlink(Ebin, filename:join(Home, "ebin")),
    ok = file:make_symlink(filename:absname(filename:join(code:priv_dir(py), "python")), filename:join([Home, "priv", "python"])),
    command([Environment, " erl -noinput -pa ", filename:join(Home, "ebin"), " -s py"],
        "py:func(os, getenv, [<<\"PY_MARK\">>])").

a_broken_choice_is_an_error_and_never_falls_through(Config) ->
    Directory = filename:absname(?config(priv_dir, Config)),
    Good = marked(filename:join([Directory, "good", "bin", "python"]), "good"),
    GoodVenv = filename:join(Directory, "good"),
    Plain = filename:join(Directory, "not_executable"),
    ok = file:write_file(Plain, "#!/bin/sh\n"),
    Run = fun(Variables, Options) -> py_application:with_environment(Variables, fun() -> mark(Options) end) end,
    Other = [{"PY_PYTHON", Good}, {"VIRTUAL_ENV", GoodVenv}],
    NoVenv = "/no/such/venv",
    ?assertEqual({no_python, python_option, "/no/such/python"}, Run(Other, #{python => "/no/such/python"})),
    ?assertEqual({no_python, python_option, "no_such_name"}, Run(Other, #{python => "no_such_name"})),
    ?assertEqual({no_python, python_option, NoVenv ++ "/bin/python"}, Run(Other, #{python => {venv, NoVenv}})),
    ?assertEqual({no_python, python_option, Plain}, Run(Other, #{python => Plain})),
    Broken = [{"PY_PYTHON", "/no/such/python"}, {"VIRTUAL_ENV", GoodVenv}],
    ?assertEqual({no_python, 'PY_PYTHON', "/no/such/python"}, Run(Broken, #{})),
    ?assertEqual("good", Run(Broken, #{python => Good})),
    BrokenVenv = [{"PY_PYTHON", false}, {"VIRTUAL_ENV", NoVenv}],
    ?assertEqual({no_python, 'VIRTUAL_ENV', NoVenv ++ "/bin/python"}, Run(BrokenVenv, #{})),
    %% The application's own pool, and what people read.
    {ok, stopped} = py:stop(),
    {error, Error} = py_application:with_environment(Broken, fun py:start/0),
    contains(["default", "/no/such/python", "PY_PYTHON"], py_error:text(Error)),
    ?assertEqual([], py_os_process:descendants()).

a_program_that_is_no_python_is_named_with_what_it_said(Config) ->
    File = filename:join(?config(priv_dir, Config), "no_python"),
    ok = file:write_file(File, "#!/bin/sh\necho 'I am no Python' >&2\nexit 7\n"),
    ok = file:change_mode(File, 8#755),
    {failed, Path, Text} = mark(#{python => File}),
    ?assertEqual(filename:absname(File), Path),
    contains(["I am no Python"], Text),
    ?assertMatch({failed, "/bin/true", ""}, mark(#{python => "/bin/true"})).

a_banner_on_standard_output_hurts_nobody(Config) ->
    Good = marked(filename:join(?config(priv_dir, Config), "python"), "with a banner"),
    File = filename:join(?config(priv_dir, Config), "banner"),
    ok = file:write_file(File, ["#!/bin/sh\necho 'Welcome!'\nexec ", filename:absname(Good), " \"$@\"\n"]),
    ok = file:change_mode(File, 8#755),
    ?assertEqual("with a banner", mark(#{python => File})).

an_interpreter_that_says_nothing_is_given_up_after_its_start_timeout(Config) ->
    File = filename:join(?config(priv_dir, Config), "sleepy"),
    ok = file:write_file(File, "#!/bin/sh\nexec sleep 60\n"),
    ok = file:change_mode(File, 8#755),
    Before = erlang:monotonic_time(millisecond),
    ?assertEqual({no_answer, filename:absname(File), 300}, mark(#{python => File, start_timeout => 300})),
    ?assert(erlang:monotonic_time(millisecond) - Before < 5_000).

a_python_that_is_too_old_is_refused_with_its_version(_Config) ->
    Home = os:getenv("HOME", "/"),
    Candidates =
        [Path || Minor <- ["9", "8", "7", "6"], Path <- filelib:wildcard(Home ++ "/.pyenv/versions/3." ++ Minor ++ ".*/bin/python")] ++
            [Path || Minor <- ["9", "8", "7", "6"], Path <- [os:find_executable("python3." ++ Minor)], Path =/= false],
    case [Path || Path <- Candidates, is_old(Path)] of
        [] ->
            io:format(user, "skipped: no Python older than 3.10 was found here~n", []),
            {skip, "no Python older than 3.10 was found here"};
        [Old | _] ->
            {failed, Old, Text} = mark(#{python => Old}),
            contains(["3.10 or later", Old], Text)
    end.

is_old(Python) ->
    "old" =:= string:trim(os:cmd(Python ++ " -c 'import sys; print(\"old\" if sys.version_info < (3, 10) else \"new\")'")).

a_python_without_erlang_py_is_told_what_to_install(Config) ->
    Directory = py_venv:bare(Config),
    {failed, Python, Text} = mark(#{python => {venv, Directory}, env => [{"PYTHONPATH", false}]}),
    ?assertEqual(filename:join([Directory, "bin", "python"]), Python),
    contains([Python, "erlang-py", "-m pip install erlang-py"], Text).

a_python_without_erl_bridge_gets_it_from_the_application(Config) ->
    Directory = py_venv:bare(Config),
    %% Only erlang-py's module beside it.
    ErlangPy = py:const(erlang, '__file__'),
    Path = filename:join(Directory, "path"),
    ok = file:make_dir(Path),
    ok = file:make_symlink(ErlangPy, filename:join(Path, filename:basename(ErlangPy))),
    {ok, _} = py:start_pool(bare, #{size => 1, python => {venv, Directory}, env => [{"PYTHONPATH", Path}]}),
    On = #{pool => bare},
    ?assertEqual(3, py:func(operator, add, [1, 2], On)),
    ?assertEqual(Directory, py:const(sys, prefix, On)),
    ?assertEqual(
        filename:absname(filename:join([code:priv_dir(py), "python", "erl", "__init__.py"])),
        py:const(erl, '__file__', On)
    ).

%%% Ends and restarts

a_worker_killed_while_idle_is_replaced(_Config) ->
    [#{worker := Worker, os_pid := OsPid}, #{os_pid := Other}] = py:workers(),
    py_os_process:kill(OsPid),
    py_eventually:holds(fun() -> os_pid(Worker) =/= OsPid andalso state(Worker) =:= serving end),
    [#{worker := Worker, os_pid := Next, restarts := 1}, #{os_pid := Other, restarts := 0}] = py:workers(),
    ?assertEqual(Next, py:func(os, getpid, #{worker => Worker})),
    ?assertEqual(3, py:add(1, 2)).

a_worker_killed_while_busy_fails_its_call_and_no_other(Config) ->
    [#{worker := Worker, os_pid := OsPid}, #{worker := Second, os_pid := Other}] = py:workers(),
    Killed = busy(Config, #{worker => Worker}),
    File = flag(Config),
    Unharmed = call(fun() -> py:func(py_work, note_and_sleep, [File, 0.5], #{worker => Second}) end),
    py_eventually:holds(fun() -> filelib:is_file(File) end),
    py_os_process:kill(OsPid),
    ?assertEqual({error, {py, {worker_down, {signal, 9, ""}}}}, result(Killed)),
    ?assertEqual({ok, Other}, result(Unharmed)),
    wait_serving(Worker),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{worker => Worker})).

a_call_waits_for_the_worker_that_is_being_replaced(Config) ->
    {ok, _} = py:start_pool(one, pool(Config, #{})),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(one),
    [
        begin
            py_os_process:kill(os_pid(Worker)),
            py_eventually:holds(fun() -> state(Worker) =/= serving end),
            ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => one}))
        end
     || _ <- [first, second]
    ],
    ?assertNotEqual(OsPid, os_pid(Worker)).

a_worker_beyond_its_restart_budget_is_degraded_and_says_why(Config) ->
    %% No death is forgiven; the next interpreter comes after twice the base delay.
    Budget = #{max => 0, within => 60_000, delay => 300, max_delay => 60_000},
    {ok, _} = py:start_pool(frail, pool(Config, #{restart => Budget})),
    [#{worker := Worker}] = py:workers(frail),
    kill_worker(Worker),
    py_eventually:equals(degraded, fun() -> state(Worker) end),
    Call = fun() -> py:func(operator, add, [1, 2], #{pool => frail}) end,
    ?assertError({py, {worker_down, {signal, 9, ""}}}, Call()),
    contains(["signal 9"], py_error:text({py, {worker_down, {signal, 9, ""}}})),
    %% Nothing else went down, and it recovers by itself.
    ?assertEqual(3, py:add(1, 2)),
    wait_serving(Worker),
    ?assertEqual(3, Call()).

a_worker_process_that_is_killed_is_replaced_and_leaves_no_python(Config) ->
    {ok, _} = py:start_pool(one, pool(Config, #{})),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(one),
    Open = busy(Config, #{pool => one}),
    exit(Worker, kill),
    ?assertEqual({error, {py, {worker_down, killed}}}, result(Open)),
    py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end),
    py_eventually:holds(fun() -> [serving] =:= [State || #{state := State} <- py:workers(one)] end),
    [#{worker := Next}] = py:workers(one),
    ?assertNotEqual(Worker, Next),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => one})),
    ?assertEqual(3, py:add(1, 2)).

sys_exit_is_an_exception_like_any_other(_Config) ->
    [#{worker := Worker, os_pid := OsPid} | _] = py:workers(),
    ?assertError({python, 'builtins.SystemExit', "3", _}, py:func(py_work, leave, [], #{worker => Worker})),
    ?assertEqual(OsPid, py:func(os, getpid, [], #{worker => Worker})).

os_exit_costs_its_call_and_the_interpreter(_Config) ->
    [#{worker := Worker, os_pid := OsPid}, #{os_pid := Other}] = py:workers(),
    ?assertError(
        {py, {worker_down, {exit_status, 3, ""}}}, py:func(py_work, leave_at_once, [3], #{worker => Worker})
    ),
    %% Also when all seems well.
    wait_serving(Worker),
    ?assertError(
        {py, {worker_down, {exit_status, 0, ""}}}, py:func(py_work, leave_at_once, [0], #{worker => Worker})
    ),
    wait_serving(Worker),
    ?assertNotEqual(OsPid, py:func(os, getpid, [], #{worker => Worker})),
    ?assert(lists:member(Other, os_pids(default))),
    ?assertEqual(3, py:add(1, 2)).

a_segmentation_fault_costs_its_call_and_the_interpreter(_Config) ->
    [#{worker := Worker} | _] = py:workers(),
    ?assertError({py, {worker_down, {signal, 11, "Fatal Python error: Segmentation fault" ++ _}}}, py:func(py_work, crash, [], #{worker => Worker})),
    wait_serving(Worker),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{worker => Worker})).

stopping_answers_the_calls_that_are_open(Config) ->
    {ok, _} = py:start_pool(one, pool(Config, #{})),
    OsPids = os_pids(),
    InPool = busy(Config, #{pool => one}),
    Before = erlang:monotonic_time(millisecond),
    ok = py:stop_pool(one, 0),
    ?assertEqual({error, {py, {worker_down, stopped}}}, result(InPool)),
    Open = [busy(Config, #{worker => Worker}) || #{worker := Worker} <- py:workers()],
    {ok, stopped} = py:stop(0),
    [?assertEqual({error, {py, {worker_down, stopped}}}, result(Caller)) || Caller <- Open],
    ?assert(erlang:monotonic_time(millisecond) - Before < 5_000),
    ?assertEqual([], [OsPid || OsPid <- OsPids, py_os_process:alive(OsPid)]).

no_python_outlives_a_beam_that_was_killed(Config) ->
    [
        begin
            {Port, Beam} = beam(Config, Work),
            py_eventually:equals(2, fun() -> length(pythons_below(Beam)) end),
            Pythons = pythons_below(Beam),
            Busy = filename:join(?config(priv_dir, Config), "busy"),
            Work =:= idle orelse py_eventually:holds(fun() -> filelib:is_file(Busy) end),
            py_os_process:kill(Beam),
            py_eventually:equals([], fun() -> [Python || Python <- Pythons, py_os_process:alive(Python)] end),
            receive {Port, {exit_status, _}} -> ok after 5_000 -> ct:fail(beam_lives) end
        end
     || Work <- [idle, busy]
    ].

%% A BEAM of its own with two workers, idle or with a call that takes a minute.
beam(Config, Work) ->
    Busy = filename:join(?config(priv_dir, Config), "busy"),
    Start = "application:load(py), application:set_env(py, pools, [{default, #{size => 2, python_path => [\"" ++
        ?config(data_dir, Config) ++ "\"]}}]), {ok, started} = py:start()",
    Call =
        case Work of
            idle -> "";
            busy -> ", py:func(py_work, note_and_sleep, [<<\"" ++ Busy ++ "\">>, 60])"
        end,
    Port = open_port({spawn_executable, os:find_executable("erl")}, [
        {args, ["-noinput", "-pa", ebin(), "-eval", Start ++ Call ++ "."]}, exit_status, hide
    ]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    {Port, OsPid}.

pythons_below(Beam) ->
    [Pid || {Pid, Command} <- py_os_process:descendants(Beam), string:find(Command, "erl.__main__") =/= nomatch].

%%% Deadlines

a_caller_is_answered_in_time_and_the_worker_serves_on(Config) ->
    {ok, _} = py:start_pool(patient, pool(Config, #{kill_after => 30_000})),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(patient),
    Before = erlang:monotonic_time(millisecond),
    %% It ends by itself before `kill_after', so this interpreter stays.
    ?assertError({py, timeout}, py:func(py_work, sleep_and_return, [6, late], #{worker => Worker, timeout => 100})),
    Took = erlang:monotonic_time(millisecond) - Before,
    ?assert(Took >= 100 andalso Took < 5_000, Took),
    ?assertEqual(next, py:func(py_work, sleep_and_return, [0, next], #{worker => Worker})),
    ?assertEqual(OsPid, os_pid(Worker)),
    receive Message -> ct:fail({late, Message}) after 0 -> ok end,
    ?assertError({py, timeout}, py:func(py_work, sleep_and_return, [0, soon], #{worker => Worker, timeout => 0})),
    ?assertEqual(next, py:func(py_work, sleep_and_return, [0, next], #{worker => Worker})).

a_call_that_outlives_its_deadline_is_killed(Config) ->
    {ok, _} = py:start_pool(one, pool(Config, #{kill_after => 200})),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(one),
    %% The import could be interrupted.
    0 = py:func(py_work, times_started, [], #{pool => one}),
    ?assertError({py, timeout}, py:func(py_work, never_return, [], #{pool => one, timeout => 500})),
    py_eventually:holds(fun() -> os_pid(Worker) =/= OsPid end),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => one, timeout => 10_000})),
    ?assertNot(py_os_process:alive(OsPid)),
    receive Message -> ct:fail({late, Message}) after 0 -> ok end.

a_call_made_while_an_unwanted_one_runs_is_not_killed_with_it(Config) ->
    {ok, _} = py:start_pool(one, pool(Config, #{kill_after => 500})),
    [#{os_pid := OsPid}] = py:workers(one),
    %% The import could be interrupted.
    0 = py:func(py_work, times_started, [], #{pool => one}),
    ?assertError({py, timeout}, py:func(py_work, never_return, [], #{pool => one, timeout => 200})),
    Results = [result(call(fun() -> py:func(operator, add, [N, N], #{pool => one}) end)) || N <- [1, 2, 3]],
    ?assertEqual([{ok, 2}, {ok, 4}, {ok, 6}], Results),
    ?assertNot(py_os_process:alive(OsPid)).

%% Many callers on two workers, some with deadlines that their calls can't meet: everyone else gets their own answer.
a_timeout_changes_no_other_call(_Config) ->
    Callers = [
        {N, Timeout, call(fun() -> py:func(py_work, sleep_and_return, [0.01, N], #{timeout => Timeout}) end)}
     || N <- lists:seq(1, 100), Timeout <- [infinity, 30]
    ],
    Results = [{N, Timeout, result(Caller)} || {N, Timeout, Caller} <- Callers],
    [?assertEqual({ok, N}, Result) || {N, infinity, Result} <- Results],
    [
        ?assert(Result =:= {ok, N} orelse Result =:= {error, {py, timeout}}, Result)
     || {N, 30, Result} <- Results
    ],
    ?assert(lists:any(fun({_, _, Result}) -> Result =:= {error, {py, timeout}} end, Results)).

a_pool_has_a_timeout_for_all_its_calls(Config) ->
    {ok, _} = py:start_pool(brisk, pool(Config, #{call_timeout => 100})),
    ?assertError({py, timeout}, py:func(py_work, sleep_and_return, [0.4, late], #{pool => brisk})),
    ?assertEqual(right, py:func(py_work, sleep_and_return, [0.2, right], #{pool => brisk, timeout => infinity})).

%%% Output

print_goes_to_the_group_leader_of_each_caller(_Config) ->
    [#{worker := One}, #{worker := Two}] = py:workers(),
    Callers = [
        begin
            Leader = py_output:start(),
            Caller = call(fun() ->
                group_leader(Leader, self()),
                py:func(py_work, say, [Text, 5, 0.01], #{worker => Worker})
            end),
            {Text, Leader, Caller}
        end
     || {Text, Worker} <- [{<<"one">>, One}, {<<"two ключ"/utf8>>, Two}, {<<"three">>, One}]
    ],
    [
        begin
            {ok, _} = result(Caller),
            Lines = unicode:characters_to_list(lists:duplicate(5, [Text, $\n])),
            py_eventually:equals(Lines, fun() -> py_output:text(Leader) end),
            py_output:stop(Leader)
        end
     || {Text, Leader, Caller} <- Callers
    ].

with_handler(Fun) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{test => self()}, level => all}),
    try
        Fun()
    after
        logger:remove_handler(?MODULE),
        logger:set_primary_config(level, Level)
    end.

%% The handler: Python's records go to the test.
log(#{meta := #{domain := [py, python]}} = Event, #{config := #{test := Test}}) -> Test ! {logged, Event};
log(_, _) -> ok.

logging_goes_to_logger(Config) ->
    with_handler(fun() ->
        [
            begin
                py:func(py_work, log, [atom_to_binary(Level), <<"ключ "/utf8, (atom_to_binary(Level))/binary>>]),
                receive
                    {logged, #{level := Level, msg := {Format, Args}, meta := Meta}} ->
                        ?assertEqual("ключ " ++ atom_to_list(Level), lists:flatten(io_lib:format(Format, Args))),
                        #{py_logger := "py_work.here", file := File, line := Line, os_pid := OsPid, pool := default} = Meta,
                        ?assertEqual("py_work.py", filename:basename(File)),
                        ?assert(Line > 0),
                        ?assert(lists:member(OsPid, os_pids(default)))
                after 5_000 -> ct:fail({not_logged, Level})
                end
            end
         || Level <- [warning, error, critical]
        ],
        %% Below the pool's level.
        py:func(py_work, log, [<<"info">>, <<"not for Erlang">>]),
        receive {logged, Event} -> ct:fail(Event) after 0 -> ok end,
        %% `print' of the caller is another matter.
        ?assert(filelib:is_dir(?config(data_dir, Config)))
    end).

a_pool_says_from_which_level_on_it_logs(Config) ->
    {ok, _} = py:start_pool(verbose, pool(Config, #{log_level => debug})),
    {ok, _} = py:start_pool(quiet, pool(Config, #{log_level => critical})),
    with_handler(fun() ->
        [
            begin
                py:func(py_work, log, [Level, <<"text">>], #{pool => verbose}),
                Expected = binary_to_atom(Level),
                receive {logged, #{level := Expected}} -> ok after 5_000 -> ct:fail({not_logged, Level}) end
            end
         || Level <- [<<"debug">>, <<"info">>]
        ],
        py:func(py_work, log, [<<"error">>, <<"text">>], #{pool => quiet}),
        py:func(py_work, log, [<<"critical">>, <<"text">>], #{pool => quiet}),
        receive {logged, #{level := Level}} -> ?assertEqual(critical, Level) after 5_000 -> ct:fail(not_logged) end
    end).

writing_to_descriptor_1_hurts_nobody(_Config) ->
    [#{worker := Worker, os_pid := OsPid} | _] = py:workers(),
    On = #{worker => Worker},
    ?assertEqual(0, py:func(py_work, shell, [<<"echo from os.system">>], On)),
    ?assertEqual(undefined, py:func(py_work, puts, [{bytes, <<"from C's puts">>}], On)),
    ?assertEqual(11, py:func(py_work, write_to_descriptor, [1, {bytes, <<"to number 1">>}], On)),
    %% The descriptors that the protocol came on are nobody's now.
    [
        ?assertError(
            {python, 'builtins.OSError', "[Errno 9] Bad file descriptor", _},
            py:func(py_work, write_to_descriptor, [Descriptor, {bytes, <<"junk">>}], On)
        )
     || Descriptor <- [3, 4]
    ],
    ?assertEqual(undefined, py:func(py_work, say_to_stderr, [<<"to stderr">>], On)),
    ?assertEqual(OsPid, py:func(os, getpid, [], On)).

standard_input_is_empty(_Config) ->
    ?assertEqual("", py:func(py_work, read_stdin)),
    ?assertEqual(0, py:func(py_work, stdin_of_a_child)),
    ?assertError({python, 'builtins.EOFError', _, _}, py:func(builtins, input, [])).

%%% Calls back

python_calls_erlang(_Config) ->
    ?assertEqual(6, py:func(py_work, sum_in_erlang, [[1, 2, 3]])),
    ?assertEqual({a, <<"b">>}, py:func(py_work, apply_in_erlang, [erlang, list_to_tuple, [[a, {bytes, <<"b">>}]]])),
    [#{worker := Worker} | _] = py:workers(),
    ?assertEqual(Worker, py:func(py_work, my_worker, [], #{worker => Worker})),
    ?assert(is_reference(py:func(py_work, new_reference))),
    ?assertEqual(undefined, py:func(erl, cast, [self(), {hello, 1}])),
    receive {hello, 1} -> ok after 5_000 -> ct:fail(no_message) end,
    %% A receiver that is not there is no error.
    ?assertEqual(undefined, py:func(erl, cast, [nobody_of_this_name, hello])),
    ?assertEqual(3, py:add(1, 2)).

an_erlang_error_is_a_python_exception(_Config) ->
    ?assertMatch({error, badarith}, py:func(py_work, error_of, [erlang, '/', [1, 0]])),
    ?assertMatch({throw, ball}, py:func(py_work, error_of, [erlang, throw, [ball]])),
    ?assertMatch({exit, {why, 1}}, py:func(py_work, error_of, [erlang, exit, [{why, 1}]])),
    ?assertMatch({error, undef}, py:func(py_work, error_of, [no_such_module, f, []])),
    %% Not caught in Python, it comes back as itself.
    Apply = fun(M, F, A) -> py:func(py_work, apply_in_erlang, [M, F, A]) end,
    ?assertError(badarith, Apply(erlang, '/', [1, 0])),
    ?assertThrow(#{ball := <<"red">>}, Apply(?MODULE, throw_ball, [])),
    ?assertExit({why, 1}, Apply(erlang, exit, [{why, 1}])),
    try Apply(lists, nth, [3, [1]]) of
        Value -> ct:fail({no_error, Value})
    catch
        error:function_clause:Stack -> ?assertMatch([{lists, F, _, _} | _] when F =:= nth; F =:= nth_1, Stack)
    end,
    %% What Python code makes up is no exception of Erlang's.
    ?assertError({erlang, nonsense, _, _}, py:func(py_work, raise_made_up, [nonsense])),
    ?assertEqual(3, py:add(1, 2)).

throw_ball() -> throw(#{ball => <<"red">>}).

calls_nest_on_one_worker(_Config) ->
    ?assertEqual([5, 4, 3, 2, 1, 0], py:func(py_work, countdown, [5])),
    ?assertEqual([0, 0], [InFlight || #{in_flight := InFlight} <- py:workers()]).

%% Python calls this, and this calls Python, on the worker that waits for it.
countdown(Worker, Number) -> py:func(py_work, countdown, [Number], #{worker => Worker}).

every_thread_calls_and_casts(_Config) ->
    ?assertEqual(node(), py:func(py_work, call_in_a_thread)),
    undefined = py:func(py_work, cast_in_a_thread, [self(), from_a_thread]),
    receive from_a_thread -> ok after 5_000 -> ct:fail(no_message) end.

messages_reach_the_message_handler(_Config) ->
    [#{worker := Worker, os_pid := OsPid} | _] = py:workers(),
    On = #{worker => Worker},
    undefined = py:func(py_work, keep_messages, [], On),
    ok = py_worker:cast(Worker, {hello, [1, 2]}),
    ok = py_worker:cast(Worker, second),
    ?assertEqual([{hello, [1, 2]}, second], py:func(py_work, kept_messages, [], On)),
    %% One that fails is logged, and hurts nobody.
    undefined = py:func(py_work, fail_at_messages, [], On),
    ok = py_worker:cast(Worker, third),
    ?assertEqual(OsPid, py:func(os, getpid, [], On)).

%%% Other nodes

the_node_option_calls_on_another_node(Config) ->
    ?assertError({py, {node_down, 'nobody@nowhere'}}, py:func(os, getpid, #{node => 'nobody@nowhere'})),
    Distribution = py_distribution:start(),
    try
        %% The key that signs opaques comes from the cookie, which this node has only now.
        {ok, restarted} = py:restart(),
        {Peer, Node} = py_distribution:start_peer(),
        try
            on_another_node(Node, Config)
        after
            peer:stop(Peer)
        end
    after
        py_distribution:stop(Distribution)
    end,
    {ok, restarted} = py:restart().

on_another_node(Node, Config) ->
    ?assertError({py, not_started}, py:func(os, getpid, #{node => Node})),
    {ok, started} = py_distribution:start_py(Node, [{default, pool(Config, #{})}]),
    [#{os_pid := OsPid, worker := Worker}] = rpc:call(Node, py, workers, []),
    On = #{node => Node},
    ?assertEqual(OsPid, py:func(os, getpid, On)),
    ?assertEqual(OsPid, py:pycall(os, getpid, [], On)),
    ?assertError({python, 'builtins.ModuleNotFoundError', _, _}, py:func(no_such_module, f, On)),
    ?assertError({py, timeout}, py:func(py_work, sleep_and_return, [0.3, 1], On#{timeout => 50})),
    %% An opaque of the one is read by the other; a reference leads back to where it is.
    ?assertEqual(3, py:func(builtins, len, [py:range(3)], On)),
    Reference = {'$py.ref', Worker, 1, _} = py:func(builtins, iter, [[7, 8]], On),
    ?assertEqual(7, py:next(Reference)),
    ?assertEqual(8, py:func(builtins, next, [Reference])),
    ok = py:release(Reference),
    %% What is printed there appears here.
    {OsPid, Leader} = py_output:of_call(fun() -> py:func(py_work, say, [<<"from afar">>], On) end),
    py_eventually:equals("from afar\n", fun() -> py_output:text(Leader) end),
    py_output:stop(Leader).

%%% Callers and workers

call(Fun) -> py_caller:start(Fun).

result(Caller) -> py_caller:result(Caller).

%% A call that keeps its worker busy for a minute; returns when it runs.
busy(Config, Options) ->
    File = flag(Config),
    Caller = call(fun() -> py:func(py_work, note_and_sleep, [File, 60], Options) end),
    py_eventually:holds(fun() -> filelib:is_file(File) end),
    Caller.

%% The callers end without an answer; their workers are stopped with the application.
stop_caller({Pid, Monitor}) ->
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%% The path of a file that is not there yet.
flag(Config) ->
    Name = "runs_" ++ integer_to_list(erlang:unique_integer([positive])),
    unicode:characters_to_binary(filename:absname(filename:join(?config(priv_dir, Config), Name))).

os_pids() -> [OsPid || #{os_pid := OsPid} <- py:workers()].

os_pids(Pool) -> [OsPid || #{os_pid := OsPid} <- py:workers(Pool)].

info(Worker) -> hd([Info || #{worker := W} = Info <- py:workers(), W =:= Worker]).

os_pid(Worker) -> map_get(os_pid, info(Worker)).

state(Worker) -> map_get(state, info(Worker)).

kill_worker(Worker) ->
    OsPid = os_pid(Worker),
    py_os_process:kill(OsPid),
    py_eventually:holds(fun() -> os_pid(Worker) =/= OsPid end).

wait_serving(Worker) -> py_eventually:holds(fun() -> state(Worker) =:= serving end).

contains(Words, Text) ->
    [?assertNotEqual(nomatch, string:find(Text, Word), unicode:characters_to_list(Text)) || Word <- Words].

%% What an expression gives in a BEAM of its own, as it prints it.
erl(Arguments, Expression) -> command(["erl -noinput -pa ", ebin(), " " | Arguments], Expression).

command(Command, Expression) ->
    Eval = [" -eval 'io:format(\"~0tp~n\", [", Expression, "]), halt(0).' 2>&1"],
    string:trim(os:cmd(lists:flatten([Command, Eval]))).

ebin() -> filename:dirname(filename:absname(code:where_is_file("py.app"))).
