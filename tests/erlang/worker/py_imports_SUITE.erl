%%% Deadlines that pass while Python imports something: nothing is left half imported, and the next call is right.
-module(py_imports_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_call_of_what_is_imported_first/1,
    an_import_in_a_call/1,
    an_import_that_swallows_what_it_meets/1,
    an_import_in_c/1,
    an_import_that_waits_for_another_thread/1,
    a_module_that_is_loaded_again/1,
    a_submodule_that_nobody_has_imported/1,
    a_class_and_its_decorator/1,
    an_import_that_calls_erlang/1,
    no_call_nests_in_an_import/1,
    what_an_import_calls_may_not_call_the_same_python/1,
    an_import_in_a_session/1,
    a_call_is_interrupted_behind_its_import/1,
    an_import_that_never_ends_is_killed/1,
    libraries/1
]).
%% Called from Python.
-export([back/0]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        a_call_of_what_is_imported_first,
        an_import_in_a_call,
        an_import_that_swallows_what_it_meets,
        an_import_in_c,
        an_import_that_waits_for_another_thread,
        a_module_that_is_loaded_again,
        a_submodule_that_nobody_has_imported,
        a_class_and_its_decorator,
        an_import_that_calls_erlang,
        no_call_nests_in_an_import,
        what_an_import_calls_may_not_call_the_same_python,
        an_import_in_a_session,
        a_call_is_interrupted_behind_its_import,
        an_import_that_never_ends_is_killed,
        libraries
    ].

init_per_suite(Config) -> Config.

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
    %% So short that what is not excused is killed.
    Pool = #{size => 1, kill_after => 100, start_timeout => 20_000, python_path => [?config(data_dir, Config)]},
    ok = py_application:start([{default, Pool}]),
    Config.

end_per_testcase(_Case, _Config) -> py_application:stop_sessions().

%%% One Python: the interruption waits

a_call_of_what_is_imported_first(_Config) -> right(fun(Options) -> py:func(halfpkg, answer, [], Options) end).

an_import_in_a_call(_Config) -> right(answer, [<<"halfpkg">>]).

an_import_that_swallows_what_it_meets(_Config) -> right(answer, [<<"swallowing">>]).

an_import_in_c(_Config) -> right(answer_in_c, [<<"halfpkg">>]).

an_import_that_waits_for_another_thread(_Config) -> right(answer_with_a_thread, [<<"halfpkg">>]).

a_module_that_is_loaded_again(_Config) -> right(answer_again, [<<"reloaded">>]).

a_submodule_that_nobody_has_imported(_Config) -> right(fun(Options) -> py:func(deferred, 'sub.answer', [], Options) end).

a_class_and_its_decorator(_Config) -> right(answer, [<<"decorated">>]).

an_import_that_calls_erlang(_Config) -> right(answer, [<<"asking">>]).

%% It would find the module half made.
no_call_nests_in_an_import(_Config) ->
    Callers = [py_caller:start(fun() -> py:func(py_imports, answer, [<<"asking">>], #{timeout => 30_000}) end) || _ <- lists:seq(1, 5)],
    ?assertEqual([{ok, 42} || _ <- Callers], py_caller:results(Callers)).

what_an_import_calls_may_not_call_the_same_python(_Config) ->
    ?assertEqual("nested", py:func(asking_back, answer, [], #{timeout => 30_000})),
    ?assertEqual(3, py:add(1, 2)).

back() ->
    try
        py:add(1, 2)
    catch
        error:{py, {Reason, 1}} -> Reason
    end.

right(Function, Args) -> right(fun(Options) -> py:func(py_imports, Function, Args, Options) end).

%% In a Python of its own for each deadline.
right(Call) ->
    [
        kept(fun() ->
            imported(),
            In = in_time(fun() -> Call(#{timeout => Timeout}) end),
            ?assertEqual(42, Call(#{timeout => 30_000})),
            In
        end)
     || Timeout <- [20, 100, 250]
    ],
    ?assertEqual(3, py:add(1, 2)).

%% An answer that has come when the caller runs again is taken, however late.
in_time(Call) ->
    try Call() of
        42 -> false
    catch
        error:{py, timeout} -> true
    end.

%% Python has `kill_after' to say that it imports. Where the machine is so busy that it can't, or that the deadline is noticed when
%% the import is over, another one gets the time.
kept(Fun) -> kept(Fun, 3).

kept(Fun, Tries) ->
    [#{os_pid := Before}] = py:workers(),
    In = Fun(),
    [#{worker := Worker, os_pid := After}] = py:workers(),
    py:restart_worker(Worker),
    case {Before =:= After, In} of
        {true, true} -> ok;
        _ when Tries > 1 -> kept(Fun, Tries - 1);
        {Kept, _} -> error(#{kept => Kept, in_time => In})
    end.

%% The deadline is for what the function imports.
imported() -> false = py:func(py_imports, is_loaded, [<<"halfpkg">>]).

an_import_in_a_session(Config) ->
    Options = #{persistent => true, kill_after => 100, start_timeout => 20_000, python_path => [?config(data_dir, Config)]},
    Session = py_session:open(Options),
    py_session:eval(Session, "kept = 1"),
    ?assertError({py, timeout}, py_session:eval(Session, "import halfpkg\nhalfpkg.answer()", #{timeout => 100})),
    ?assertEqual(43, py_session:eval(Session, "import halfpkg\nhalfpkg.answer() + kept")),
    py_session:close(Session).

a_call_is_interrupted_behind_its_import(_Config) ->
    kept(fun() ->
        imported(),
        ?assertError({py, timeout}, py:func(py_imports, import_and_go_on, [<<"halfpkg">>, 60], #{timeout => 100})),
        ?assertEqual(42, py:func(py_imports, answer, [<<"halfpkg">>], #{timeout => 20_000})),
        true
    end).

%%% An import that hangs

an_import_that_never_ends_is_killed(Config) ->
    Pool = #{size => 1, kill_after => 100, start_timeout => 3_000, python_path => [?config(data_dir, Config)], restart => #{max => 1}},
    {ok, _} = py:start_pool(hung, Pool),
    [
        begin
            [#{os_pid := OsPid}] = py:workers(hung),
            ?assertEqual(false, py:func(py_imports, is_loaded, [<<"hanging">>], #{pool => hung})),
            ?assertError({py, timeout}, py:func(py_imports, answer, [<<"hanging">>], #{pool => hung, timeout => 100})),
            %% The worker's own budget has room for one death: this is none of those.
            ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => hung, timeout => 20_000})),
            [#{os_pid := Now}] = py:workers(hung),
            ?assertNotEqual(OsPid, Now)
        end
     || _ <- [1, 2, 3]
    ],
    ok = py:stop_pool(hung).

%%% Large packages

libraries(_Config) ->
    Known = [{numpy, 5.0}, {pandas, 3}, {sklearn, 4.0}, {matplotlib, 1}],
    {Here, Missing} = lists:partition(fun({Name, _}) -> py:func(py_imports, has, [atom_to_binary(Name)]) end, Known),
    [right(Name, Value, Timeout) || {Name, Value} <- Here, Timeout <- [30, 70, 120, 200, 350]],
    ct:comment("without ~p, which are not installed", [[Name || {Name, _} <- Missing]]).

right(Name, Value, Timeout) ->
    Use = fun(Options) -> py:func(py_imports, use, [atom_to_binary(Name)], Options) end,
    imported(),
    _ = (catch Use(#{timeout => Timeout})),
    ?assertEqual({Name, Timeout, Value}, {Name, Timeout, Use(#{timeout => 60_000})}),
    [#{worker := Worker}] = py:workers(),
    py:restart_worker(Worker).
