%%% A call that outlives its deadline costs that call alone, in whatever way it does; what waits behind it goes on.
-module(py_deadlines_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_call_that_asks_again_and_again_is_killed/1,
    a_call_that_asks_for_long_is_killed/1,
    a_call_that_asks_without_a_pause_is_killed/1,
    a_call_that_prints_is_killed/1,
    a_call_that_nests_calls_is_killed/1,
    a_call_that_nests_a_long_call_is_killed/1,
    a_call_that_starts_threads_is_killed/1,
    a_call_whose_threads_ask_is_killed/1,
    an_interruption_that_meets_a_finalizer_is_not_lost/1,
    a_coroutine_that_swallows_its_cancellation_holds_up_nobody/1,
    a_coroutine_that_asks_again_and_again_holds_up_nobody/1,
    many_coroutines_that_swallow_it_cost_their_python/1
]).
-export([
    calls_of_others_inside_an_unwanted_one_come_to_their_end/1,
    a_wanted_call_inside_an_unwanted_one_is_not_killed/1,
    an_import_has_more_time/1,
    an_import_that_is_killed_counts_no_restart/1,
    a_signal_that_is_not_caught_is_not_raised/1,
    a_signal_that_is_blocked_kills_nobody/1
]).
-export([
    user_code_may_take_sigusr1/1,
    user_code_may_take_the_signal_of_interruptions/1,
    user_code_may_take_all_signals/1,
    signals_are_the_same_without_the_compiled_codec/1,
    a_fork_has_no_signal_of_ours/1
]).
-export([
    a_call_inside_one_that_is_not_wanted_is_told/1,
    a_question_that_is_dropped_ends/1,
    questions_end_with_a_call_that_is_killed/1,
    a_question_outlives_an_interpreter_that_ends_itself/1,
    a_call_that_can_never_begin_is_refused/1
]).
%% Called by Python.
-export([sleep_in/2, sleep_and_tell/2, wait_and_note/0, deeper/2]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, stubborn}, {group, others}, {group, signals}, {group, questions}].

groups() ->
    [
        {stubborn, [
            a_call_that_asks_again_and_again_is_killed,
            a_call_that_asks_for_long_is_killed,
            a_call_that_asks_without_a_pause_is_killed,
            a_call_that_prints_is_killed,
            a_call_that_nests_calls_is_killed,
            a_call_that_nests_a_long_call_is_killed,
            a_call_that_starts_threads_is_killed,
            a_call_whose_threads_ask_is_killed,
            an_interruption_that_meets_a_finalizer_is_not_lost,
            a_coroutine_that_swallows_its_cancellation_holds_up_nobody,
            a_coroutine_that_asks_again_and_again_holds_up_nobody,
            many_coroutines_that_swallow_it_cost_their_python
        ]},
        {others, [
            calls_of_others_inside_an_unwanted_one_come_to_their_end,
            a_wanted_call_inside_an_unwanted_one_is_not_killed,
            an_import_has_more_time,
            an_import_that_is_killed_counts_no_restart,
            a_signal_that_is_not_caught_is_not_raised,
            a_signal_that_is_blocked_kills_nobody
        ]},
        {signals, [
            user_code_may_take_sigusr1,
            user_code_may_take_the_signal_of_interruptions,
            user_code_may_take_all_signals,
            signals_are_the_same_without_the_compiled_codec,
            a_fork_has_no_signal_of_ours
        ]},
        {questions, [
            a_call_inside_one_that_is_not_wanted_is_told,
            a_question_that_is_dropped_ends,
            questions_end_with_a_call_that_is_killed,
            a_question_outlives_an_interpreter_that_ends_itself,
            a_call_that_can_never_begin_is_refused
        ]}
    ].

init_per_group(signals, Config) ->
    case os:type() of
        {unix, linux} -> Config;
        _ -> {skip, "Linux alone has signals that are nobody's"}
    end;
init_per_group(_, Config) -> Config.

end_per_group(_, _Config) -> ok.

init_per_testcase(Case, Config) ->
    Paths = [py_uncompiled:directory(?config(priv_dir, Config)) || Case =:= signals_are_the_same_without_the_compiled_codec] ++ [?config(data_dir, Config)],
    Options = maps:merge(#{size => 1, python_path => Paths}, options(Case)),
    ok = py_application:start([{default, Options}]),
    %% A short deadline is for what a function does, not for the import of its module.
    [?assertEqual(0.0, call(sleep, [0.0], #{worker => Worker})) || #{worker := Worker} <- py:workers()],
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

options(an_import_has_more_time) -> #{kill_after => 100, start_timeout => 20_000};
options(an_import_that_is_killed_counts_no_restart) -> #{kill_after => 100, start_timeout => 2_000, restart => #{max => 0}};
options(an_interruption_that_meets_a_finalizer_is_not_lost) -> #{kill_after => 3_000};
options(a_signal_that_is_not_caught_is_not_raised) -> #{kill_after => 20_000};
options(a_signal_that_is_blocked_kills_nobody) -> #{kill_after => 20_000};
options(a_wanted_call_inside_an_unwanted_one_is_not_killed) -> #{kill_after => 300};
options(Case) when
    Case =:= user_code_may_take_sigusr1; Case =:= user_code_may_take_the_signal_of_interruptions;
    Case =:= user_code_may_take_all_signals; Case =:= signals_are_the_same_without_the_compiled_codec
->
    #{kill_after => 60_000};
options(_) -> #{kill_after => 200}.

call(Function, Args) -> call(Function, Args, #{}).

call(Function, Args, Options) -> py:func(py_stubborn, Function, Args, Options).

outcome(Fun) ->
    try
        {ok, Fun()}
    catch
        error:Reason -> {error, Reason}
    end.

worker() ->
    [#{worker := Worker}] = py:workers(),
    Worker.

os_pid() ->
    [#{os_pid := OsPid}] = py:workers(),
    OsPid.

%%% Calls that go on

%% The caller is told in time, its Python is killed `kill_after' later, and the calls of others are answered by the next one.
killed(Function, Args) ->
    Before = os_pid(),
    Stubborn = py_caller:start(fun() -> call(Function, Args, #{timeout => 300}) end),
    Others = [py_caller:start(fun() -> call(sleep, [0.001 * N]) end) || N <- lists:seq(1, 20)],
    ?assertEqual({error, {py, timeout}}, py_caller:result(Stubborn)),
    py_eventually:holds(fun() -> not py_os_process:alive(Before) end),
    %% Before that, or by the next.
    ?assertEqual([{ok, 0.001 * N} || N <- lists:seq(1, 20)], py_caller:results(Others)),
    ?assertEqual(3, py:add(1, 2)).

a_call_that_asks_again_and_again_is_killed(_Config) -> killed(ask, [50]).

a_call_that_asks_for_long_is_killed(_Config) -> killed(ask, [60_000]).

a_call_that_asks_without_a_pause_is_killed(_Config) -> killed(ask_much, []).

a_call_that_prints_is_killed(_Config) ->
    {_, Leader} = py_output:of_call(fun() -> killed(say, []) end),
    py_output:stop(Leader).

a_call_that_nests_calls_is_killed(_Config) -> killed(nest, [worker(), 0.01]).

a_call_that_nests_a_long_call_is_killed(_Config) -> killed(nest, [worker(), 60]).

sleep_in(Worker, Seconds) -> call(sleep, [Seconds], #{worker => Worker}).

a_call_that_starts_threads_is_killed(_Config) -> killed(spawn, []).

a_call_whose_threads_ask_is_killed(_Config) -> killed(ask_in_threads, []).

%% What is raised in one ends there.
an_interruption_that_meets_a_finalizer_is_not_lost(_Config) ->
    Before = os_pid(),
    [?assertError({py, timeout}, call(drop, [0.02], #{timeout => 200})) || _ <- lists:seq(1, 10)],
    ?assertEqual(3, py:add(1, 2)),
    ?assertEqual(Before, os_pid()).

a_coroutine_that_swallows_its_cancellation_holds_up_nobody(_Config) -> left(swallow).

a_coroutine_that_asks_again_and_again_holds_up_nobody(_Config) -> left(swallow_and_ask).

%% It goes on beside the others, and its interpreter, which they share, lives.
left(Function) ->
    Before = os_pid(),
    Stubborn = py_caller:start(fun() -> call(Function, [], #{timeout => 300}) end),
    Others = [py_caller:start(fun() -> py:func(asyncio, sleep, [0.6, N]) end) || N <- lists:seq(1, 20)],
    ?assertEqual({error, {py, timeout}}, py_caller:result(Stubborn)),
    ?assertEqual(3, py:add(1, 2)),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 20)], py_caller:results(Others)),
    ?assertMatch([#{os_pid := Before, in_flight := 0}], py:workers()).

%% They would fill it.
many_coroutines_that_swallow_it_cost_their_python(_Config) ->
    Before = os_pid(),
    Stubborn = [py_caller:start(fun() -> call(swallow, [], #{timeout => 300}) end) || _ <- lists:seq(1, 130)],
    ?assertEqual([{error, {py, timeout}} || _ <- Stubborn], py_caller:results(Stubborn)),
    py_eventually:holds(fun() -> os_pid() =/= Before end),
    ?assertEqual(3, py:add(1, 2)).

%%% Those beside it

%% There is always another call, from before the deadline until long after it.
calls_of_others_inside_an_unwanted_one_come_to_their_end(_Config) ->
    Before = os_pid(),
    Stubborn = py_caller:start(fun() -> call(ask, [20], #{timeout => 500}) end),
    Others = [py_caller:start(fun() -> [call(sleep, [0.01]) || _ <- lists:seq(1, 60)] end) || _ <- lists:seq(1, 3)],
    ?assertEqual({error, {py, timeout}}, py_caller:result(Stubborn)),
    py_eventually:holds(fun() -> not py_os_process:alive(Before) end),
    ?assertEqual(lists:duplicate(3, {ok, lists:duplicate(60, 0.01)}), py_caller:results(Others)).

%% It runs in the time that the unwanted one waits for Erlang.
a_wanted_call_inside_an_unwanted_one_is_not_killed(_Config) ->
    Before = os_pid(),
    Stubborn = py_caller:start(fun() -> call(ask, [100], #{timeout => 200}) end),
    %% It has begun to wait.
    py_eventually:holds(fun() -> [#{in_flight := Open}] = py:workers(), Open =:= 1 end),
    Wanted = py_caller:start(fun() -> call(sleep, [2]) end),
    ?assertEqual({error, {py, timeout}}, py_caller:result(Stubborn)),
    ?assertEqual({ok, 2}, py_caller:result(Wanted)),
    py_eventually:holds(fun() -> not py_os_process:alive(Before) end),
    ?assertEqual(3, py:add(1, 2)).

an_import_has_more_time(_Config) ->
    Before = os_pid(),
    ?assertError({py, timeout}, call(note, [<<"$py.importing">>, worker(), undefined, 1.5], #{timeout => 200})),
    ?assertEqual(3, py:add(1, 2)),
    ?assertEqual(Before, os_pid()).

an_import_that_is_killed_counts_no_restart(_Config) ->
    [
        begin
            %% In the Python that has just been started the import of its module may take longer than the deadline.
            ?assertEqual(0.0, call(sleep, [0.0])),
            Before = os_pid(),
            ?assertError({py, timeout}, call(note, [<<"$py.importing">>, worker(), undefined, 60], #{timeout => 1_000})),
            py_eventually:holds(fun() -> os_pid() =/= Before end),
            %% Not even for a moment `degraded', which answers with an error.
            ?assertEqual(3, py:add(1, 2))
        end
     || _ <- [first, second, third]
    ],
    ?assertMatch([#{state := serving, restarts := 3}], py:workers()).

a_signal_that_is_not_caught_is_not_raised(_Config) ->
    Before = os_pid(),
    ?assertError({py, timeout}, call(give_up_interruptions, [1], #{timeout => 100})),
    ?assertEqual(3, py:add(1, 2)),
    ?assertEqual(Before, os_pid()).

a_signal_that_is_blocked_kills_nobody(_Config) ->
    Before = os_pid(),
    ?assertError({py, timeout}, call(block_interruptions, [1], #{timeout => 100})),
    ?assertEqual(3, py:add(1, 2)),
    ?assertEqual(Before, os_pid()).

%%% Signals that user code has taken

%% One after another in the same Python, which is not killed, and takes the next call.
taken(Ways, Which, Waits) ->
    Before = os_pid(),
    [
        begin
            ?assertEqual({Way, Wait, {error, {py, timeout}}}, {Way, Wait, outcome(fun() -> take_and_wait(Way, Which, Wait) end)}),
            ?assertEqual(3, py:add(1, 2)),
            ?assertEqual({Way, Wait, Before}, {Way, Wait, os_pid()})
        end
     || Way <- Ways, Wait <- Waits
    ].

take_and_wait(Way, Which, Wait) -> py:func(py_signals, take_and_wait, [Way, Which, Wait], #{timeout => 200}).

user_code_may_take_sigusr1(_Config) ->
    taken([<<"default">>], <<"usr1">>, [<<"sleep">>, <<"compute">>]),
    taken([<<"ignore">>, <<"faulthandler">>, <<"wakeup_fd">>], <<"usr1">>, [<<"sleep">>]),
    taken([<<"handler">>], <<"usr1">>, [<<"receive">>, <<"acquire">>]),
    %% That is its own now: it gets the signal that it raises itself, and no other.
    ?assertEqual([10], py:func(py_signals, seen, [])),
    taken([<<"block">>], <<"usr1">>, [<<"regex">>]).

%% Then it is SIGUSR1, and from then on another one.
user_code_may_take_the_signal_of_interruptions(_Config) ->
    taken([<<"default">>], <<"first">>, [<<"sleep">>, <<"acquire">>]),
    taken([<<"handler">>], <<"first">>, [<<"receive">>]),
    taken([<<"reset_in_c">>, <<"faulthandler">>], <<"first">>, [<<"nap">>]).

%% Where nothing is left that ends a system call, one between two bytecodes is; in the next call there is a signal again.
user_code_may_take_all_signals(_Config) ->
    taken([<<"default">>], <<"all">>, [<<"compute">>, <<"compute">>]),
    ?assertEqual(undefined, py:func(py_signals, take, [<<"default">>, <<"all">>])),
    taken([<<"default">>], <<"usr1">>, [<<"sleep">>]),
    taken([<<"block">>], <<"all">>, [<<"compute">>]).

signals_are_the_same_without_the_compiled_codec(_Config) ->
    ?assertEqual("reference", py:const('erl.codec', implementation)),
    taken([<<"faulthandler">>], <<"usr1">>, [<<"sleep">>]),
    taken([<<"default">>], <<"all">>, [<<"compute">>]).

%% Nor loses what user code has set.
a_fork_has_no_signal_of_ours(_Config) ->
    ?assertEqual([0, 0], py:func(py_signals, in_fork, [])),
    py:func(py_signals, take, [<<"ignore">>, <<"usr1">>]),
    ?assertEqual([1, 0], py:func(py_signals, in_fork, [])).

%%% What Python asks

%% What becomes of that call is told to the process of this name.
sleep_and_tell(Worker, Seconds) -> ?MODULE ! {told, outcome(fun() -> sleep_in(Worker, Seconds) end)}.

%% Its caller waits for it.
a_call_inside_one_that_is_not_wanted_is_told(_Config) ->
    Before = os_pid(),
    register(?MODULE, self()),
    ?assertError({py, timeout}, call(call_back, [sleep_and_tell, worker(), 60], #{timeout => 500})),
    ?assertEqual({error, {py, cancelled}}, receive {told, Outcome} -> Outcome end),
    ?assertEqual(3, py:add(1, 2)),
    ?assertEqual(Before, os_pid()).

%% A process of this name, that nobody answers.
wait_and_note() ->
    register(?MODULE, self()),
    receive never -> never end.

is_asked() -> whereis(?MODULE) =/= undefined.

a_question_that_is_dropped_ends(_Config) ->
    Caller = py_caller:start(fun() -> call(drop_question, [worker()], #{timeout => 3_000}) end),
    py_eventually:holds(fun is_asked/0),
    py_eventually:holds(fun() -> not is_asked() end, 2_500),
    %% Nothing was answered.
    ?assertEqual({error, {py, timeout}}, py_caller:result(Caller)),
    ?assertEqual(3, py:add(1, 2)).

questions_end_with_a_call_that_is_killed(_Config) ->
    Caller = py_caller:start(fun() -> call(ask, [infinity_and_a_day()], #{timeout => 300}) end),
    Other = py_caller:start(fun() -> call(call_back, [wait_and_note], #{timeout => 10_000}) end),
    ?assertEqual({error, {py, timeout}}, py_caller:result(Caller)),
    _ = py_caller:result(Other),
    py_eventually:holds(fun() -> not is_asked() end).

infinity_and_a_day() -> 4_000_000_000.

a_question_outlives_an_interpreter_that_ends_itself(_Config) ->
    Caller = py_caller:start(fun() -> call(call_back, [wait_and_note]) end),
    py_eventually:holds(fun is_asked/0),
    py_os_process:kill(os_pid()),
    ?assertMatch({error, {py, {worker_down, {signal, 9, _}}}}, py_caller:result(Caller)),
    ?assert(is_asked()),
    exit(whereis(?MODULE), kill).

%% Each waits for the next.
deeper(_Worker, 0) -> done;
deeper(Worker, Levels) -> call(deeper, [Worker, Levels - 1], #{worker => Worker}).

a_call_that_can_never_begin_is_refused(_Config) ->
    ?assertEqual(done, call(deeper, [worker(), 40], #{timeout => 30_000})),
    ?assertEqual({error, {py, {nested, 64}}}, outcome(fun() -> call(deeper, [worker(), 100], #{timeout => 30_000}) end)),
    ?assertEqual(3, py:add(1, 2)).
