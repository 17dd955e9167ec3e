%%% What must not hurt. After every case the pool is whole: the expected workers serve, nothing that is not theirs runs, and no
%%% descriptor was lost in them or in the BEAM; after the stop no process, no file, no message and no descriptor is left.
-module(py_faults_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
%% Values.
-export([
    nan_and_the_infinities_are_atoms/1,
    a_junk_pickle_is_refused/1,
    an_exception_whose_text_can_not_be_had_is_told_all_the_same/1,
    an_atom_beyond_latin1_goes_both_ways/1,
    a_deep_argument_is_refused/1,
    a_deep_result_is_refused/1,
    depths_within_the_limit_go_both_ways/1,
    a_result_that_can_not_be_pickled_stays_in_python/1,
    ten_megabytes_are_printed/1,
    a_large_binary_goes_both_ways_in_three_times_its_size/1,
    a_hundred_thousand_atoms_do_not_fill_the_atom_table/1
]).
%% Descriptors and frames.
-export([
    a_frame_written_to_an_output_reaches_nobody/1,
    a_program_that_reads_standard_input_takes_no_call/1,
    a_frame_that_is_none_costs_the_interpreter/1,
    a_frame_that_is_longer_than_what_comes_is_ended_by_the_deadline/1,
    a_zlib_bomb_is_refused_by_python/1,
    frames_that_python_can_not_read_hurt_nobody/1
]).
%% Starts.
-export([
    a_pool_whose_python_does_not_start_says_why_and_leaves_nothing/1,
    a_python_that_prints_a_banner_serves/1
]).
%% Deadlines.
-export([
    a_loop_in_python_is_interrupted/1,
    a_call_that_sleeps_is_interrupted/1,
    a_call_that_catches_exceptions_is_interrupted/1,
    a_call_that_answers_after_its_deadline_answers_nobody/1,
    a_call_that_catches_everything_is_killed/1,
    c_code_that_never_returns_is_killed/1,
    c_code_that_keeps_the_interpreter_is_killed/1,
    a_stopped_process_is_killed_at_the_deadline/1,
    a_megabyte_of_arguments_waits_behind_a_call_that_is_killed/1,
    a_megabyte_of_arguments_waits_behind_a_call_that_is_interrupted/1,
    a_call_whose_deadline_passes_in_the_queue_never_runs/1,
    a_late_interrupt_hurts_nobody/1
]).
%% Callers that die.
-export([
    a_caller_that_dies_has_its_call_interrupted/1,
    a_caller_that_dies_in_the_queue_has_its_call_dropped/1
]).
%% Calls that were not begun.
-export([
    calls_that_were_not_begun_move_to_another_interpreter/1,
    no_call_runs_twice_whatever_dies/1
]).
%% Deaths.
-export([
    an_exit_tells_its_status_and_the_last_words/1,
    a_segmentation_fault_tells_where/1,
    an_abort_tells_where/1,
    a_signal_that_a_call_sends_itself_is_told/1,
    workers_killed_all_at_once_are_all_replaced/1,
    four_deaths_in_one_second_are_survived/1,
    a_python_that_closes_the_port_is_replaced/1,
    sys_exit_ends_its_call_and_nothing_else/1,
    a_worker_process_that_is_killed_leaves_nothing_behind/1
]).
%% Limits.
-export([
    max_calls_gives_a_new_interpreter_and_loses_no_call/1,
    a_pool_that_never_recycles_keeps_its_interpreter/1,
    a_call_that_keeps_most_of_max_memory_is_followed_by_a_new_interpreter/1,
    a_call_that_holds_most_of_max_memory_for_long_ends_as_any_other/1,
    a_call_that_wants_more_than_max_memory_gets_a_memory_error/1,
    a_full_queue_is_told_at_once_and_leaves_nothing_behind/1
]).
%% Workers that are taken away.
-export([
    calls_end_with_their_results_when_their_worker_is_removed/1,
    a_call_that_outlives_the_removal_of_its_worker_is_told/1,
    resizing_down_and_up_loses_no_call/1,
    restarting_every_worker_under_load_loses_no_call/1,
    a_stopped_pool_lets_calls_end_when_there_is_time/1,
    a_stopped_application_lets_calls_end_when_there_is_time/1,
    a_module_whose_source_has_changed_is_loaded_again/1,
    an_edit_within_the_second_is_seen_by_the_next_interpreter/1
]).
%% Processes and threads of user code.
-export([
    processes_and_threads_do_their_work/1,
    a_forked_child_never_touches_the_port/1,
    a_killed_worker_leaves_no_orphan/1,
    a_stopped_pool_leaves_no_orphan/1,
    a_call_that_ends_leaves_its_children_to_the_worker/1
]).
%% Schedulers.
-export([
    schedulers_choose_by_place_and_age/1,
    a_scheduler_that_fails_fails_its_call_only/1,
    no_scheduler_chooses_a_worker_that_does_not_serve/1,
    with_worker_keeps_to_one_worker/1
]).
%% A BEAM that is killed.
-export([
    no_python_outlives_a_killed_beam_whatever_it_does/1,
    a_beam_halts_also_where_a_python_reads_nothing/1
]).
%% Schedulers of a user's.
-export([last/2, junk/2, crash/2]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [
        {values, [], [
            nan_and_the_infinities_are_atoms,
            a_junk_pickle_is_refused,
            an_exception_whose_text_can_not_be_had_is_told_all_the_same,
            an_atom_beyond_latin1_goes_both_ways,
            a_deep_argument_is_refused,
            a_deep_result_is_refused,
            depths_within_the_limit_go_both_ways,
            a_result_that_can_not_be_pickled_stays_in_python,
            ten_megabytes_are_printed,
            a_large_binary_goes_both_ways_in_three_times_its_size,
            a_hundred_thousand_atoms_do_not_fill_the_atom_table
        ]},
        {frames, [], [
            a_frame_written_to_an_output_reaches_nobody,
            a_program_that_reads_standard_input_takes_no_call,
            a_frame_that_is_none_costs_the_interpreter,
            a_frame_that_is_longer_than_what_comes_is_ended_by_the_deadline,
            a_zlib_bomb_is_refused_by_python,
            frames_that_python_can_not_read_hurt_nobody
        ]},
        {starts, [], [
            a_pool_whose_python_does_not_start_says_why_and_leaves_nothing,
            a_python_that_prints_a_banner_serves
        ]},
        {deadlines, [], [
            a_loop_in_python_is_interrupted,
            a_call_that_sleeps_is_interrupted,
            a_call_that_catches_exceptions_is_interrupted,
            a_call_that_answers_after_its_deadline_answers_nobody,
            a_call_that_catches_everything_is_killed,
            c_code_that_never_returns_is_killed,
            c_code_that_keeps_the_interpreter_is_killed,
            a_stopped_process_is_killed_at_the_deadline,
            a_megabyte_of_arguments_waits_behind_a_call_that_is_killed,
            a_megabyte_of_arguments_waits_behind_a_call_that_is_interrupted,
            a_call_whose_deadline_passes_in_the_queue_never_runs,
            a_late_interrupt_hurts_nobody
        ]},
        {callers, [], [
            a_caller_that_dies_has_its_call_interrupted,
            a_caller_that_dies_in_the_queue_has_its_call_dropped
        ]},
        {not_begun, [], [
            calls_that_were_not_begun_move_to_another_interpreter,
            no_call_runs_twice_whatever_dies
        ]},
        {deaths, [], [
            an_exit_tells_its_status_and_the_last_words,
            a_segmentation_fault_tells_where,
            an_abort_tells_where,
            a_signal_that_a_call_sends_itself_is_told,
            workers_killed_all_at_once_are_all_replaced,
            four_deaths_in_one_second_are_survived,
            a_python_that_closes_the_port_is_replaced,
            sys_exit_ends_its_call_and_nothing_else,
            a_worker_process_that_is_killed_leaves_nothing_behind
        ]},
        {limits, [], [
            max_calls_gives_a_new_interpreter_and_loses_no_call,
            a_pool_that_never_recycles_keeps_its_interpreter,
            a_call_that_keeps_most_of_max_memory_is_followed_by_a_new_interpreter,
            a_call_that_holds_most_of_max_memory_for_long_ends_as_any_other,
            a_call_that_wants_more_than_max_memory_gets_a_memory_error,
            a_full_queue_is_told_at_once_and_leaves_nothing_behind
        ]},
        {drain, [], [
            calls_end_with_their_results_when_their_worker_is_removed,
            a_call_that_outlives_the_removal_of_its_worker_is_told,
            resizing_down_and_up_loses_no_call,
            restarting_every_worker_under_load_loses_no_call,
            a_stopped_pool_lets_calls_end_when_there_is_time,
            a_module_whose_source_has_changed_is_loaded_again,
            an_edit_within_the_second_is_seen_by_the_next_interpreter
        ]},
        {processes, [], [
            processes_and_threads_do_their_work,
            a_forked_child_never_touches_the_port,
            a_killed_worker_leaves_no_orphan,
            a_stopped_pool_leaves_no_orphan,
            a_call_that_ends_leaves_its_children_to_the_worker
        ]},
        {schedulers, [], [
            schedulers_choose_by_place_and_age,
            a_scheduler_that_fails_fails_its_call_only,
            no_scheduler_chooses_a_worker_that_does_not_serve,
            with_worker_keeps_to_one_worker
        ]},
        {beam, [], [
            no_python_outlives_a_killed_beam_whatever_it_does,
            a_beam_halts_also_where_a_python_reads_nothing
        ]}
    ].

%% The pool `default' of a case, where it is not two workers with the defaults.
options(Case) ->
    Deadlines = proplists:get_value(deadlines, cases()) ++ proplists:get_value(callers, cases()),
    case lists:member(Case, Deadlines) of
        true -> #{size => 1, kill_after => kill_after(Case)};
        false -> other_options(Case)
    end.

cases() -> [{Group, Cases} || {Group, _, Cases} <- groups()].

%% Long enough that nothing is killed which can be interrupted, also on a machine that is busy.
kill_after(Case) ->
    case string:find(atom_to_list(Case), "killed") of
        nomatch -> 30_000;
        _ -> 300
    end.

other_options(no_call_runs_twice_whatever_dies) ->
    #{size => 3, restart => #{max => 1_000_000, within => 1_000, delay => 1, max_delay => 1}};
other_options(Case) when
    Case =:= a_large_binary_goes_both_ways_in_three_times_its_size;
    Case =:= a_worker_process_that_is_killed_leaves_nothing_behind
->
    #{size => 1};
other_options(Case) when
    Case =:= a_frame_that_is_none_costs_the_interpreter;
    Case =:= a_frame_that_is_longer_than_what_comes_is_ended_by_the_deadline
->
    #{kill_after => 200, restart => #{max => 100}};
other_options(_) ->
    #{}.

init_per_suite(Config) ->
    %% What the BEAM and Common Test open with the first port and the first socket stays open.
    ok = py_application:start([{default, pool(Config, #{size => 1})}]),
    3 = py:add(1, 2),
    ok = py_application:stop(),
    Config.

end_per_suite(_Config) -> ok.

init_per_testcase(Case, Config) ->
    Descriptors = descriptors(os:getpid()),
    Options = maps:merge(#{size => 2}, options(Case)),
    ok = py_application:start([{default, pool(Config, Options)}]),
    Before = #{
        descriptors => Descriptors,
        size => map_get(size, Options),
        directory => filename:dirname(py_directory:path("x")),
        workers => [{OsPid, length(descriptors(OsPid))} || OsPid <- importing(default)]
    },
    [{before, Before} | Config].

%% After each case: the pool is whole, nothing is left over while it runs, and nothing at all after the stop.
end_per_testcase(_Case, Config) ->
    end_of(?config(tc_status, Config), ?config(before, Config)).

end_of({failed, _}, _Before) ->
    %% Its own reason is the better one.
    _ = py_application:stop(),
    ok;
end_of(_Status, Before) ->
    try
        whereis(py_sup) =:= undefined orelse pool_is_whole(Before),
        stopped(py_application:stop(), Before)
    catch
        error:Reason:Stack ->
            _ = py_application:stop(),
            {fail, {Reason, Stack}}
    end.

pool_is_whole(#{size := Size, workers := Workers, directory := Directory}) ->
    ?assertEqual(3, py:add(1, 2)),
    py_eventually:equals(Size, fun() -> length([W || #{state := serving} = W <- py:workers(default)]) end),
    answering(default),
    py_eventually:equals(lists:sort(os_pids()), fun py_os_process:workers/0),
    [
        py_eventually:equals(Count, fun() -> length(descriptors(OsPid)) end)
     || {OsPid, Count} <- Workers, lists:member(OsPid, os_pids())
    ],
    %% A page for each worker, and no socket; and of shared memory, and of what maps it, nothing.
    Files = fun(Path) -> {ok, Names} = file:list_dir(Path), length(Names) end,
    py_eventually:equals(length(os_pids()) + 2, fun() -> Files(Directory) end),
    ?assertEqual([0, 0], [Files(filename:join(Directory, Name)) || Name <- ["shm", "maps"]]).

stopped(ok, #{descriptors := Descriptors, directory := Directory}) ->
    ?assertNot(filelib:is_file(Directory)),
    py_eventually:equals(Descriptors, fun() -> descriptors(os:getpid()) end);
stopped(Failure, _Before) ->
    Failure.

%% What a process has open, but for the logs of Common Test.
descriptors(OsPid) when is_integer(OsPid) -> descriptors(integer_to_list(OsPid));
descriptors(OsPid) ->
    Directory = filename:join(["/proc", OsPid, "fd"]),
    {ok, Names} = file:list_dir(Directory),
    %% The numbers of sockets and pipes differ from one to the next.
    Targets = [
        hd(string:split(Target, ":["))
     || Name <- Names, {ok, Target} <- [file:read_link_all(filename:join(Directory, Name))]
    ],
    lists:sort([Target || Target <- Targets, string:find(Target, "/logs/") =:= nomatch]).

%% A short deadline is for what a function does, not for the import of its module.
importing(Pool) ->
    [import(Worker) || #{worker := Worker} <- py:workers(Pool)],
    answering(Pool).

import(Worker) -> imported = py:func(py_faults, echo, [imported], #{worker => Worker}).

%% The pids of a pool's interpreters; each has just answered a call.
answering(Pool) ->
    [
        begin
            ?assertEqual(3, py:func(operator, add, [1, 2], #{worker => Worker})),
            os_pid(Worker)
        end
     || #{worker := Worker} <- py:workers(Pool)
    ].

%%% Values

nan_and_the_infinities_are_atoms(_Config) ->
    ?assertEqual(nan, py:float(<<"nan">>)),
    ?assertEqual(infinity, py:float(<<"inf">>)),
    ?assertEqual('-infinity', py:float(<<"-inf">>)),
    ?assertEqual([nan, {infinity}], py:pylist([py:float(<<"nan">>), {py:float(<<"inf">>)}])),
    ?assertEqual({"dict", [{"a", nan}]}, py:func(json, loads, [<<"{\"a\": NaN}">>])).

a_junk_pickle_is_refused(_Config) ->
    [
        ?assertError({py, {decode, _}}, py:len(Given), Junk)
     || Junk <- [<<>>, <<"junk">>, <<128>>, <<128, 5, 46>>, binary:copy(<<0>>, 100), crypto:strong_rand_bytes(1_000)],
        Opaque <- [{'$erlport.opaque', python, Junk}],
        Given <- [Opaque, [Opaque], #{1 => Opaque}]
    ].

an_exception_whose_text_can_not_be_had_is_told_all_the_same(_Config) ->
    ?assertError({python, 'py_faults.Mute', [_ | _], [_ | _]}, call(raise_mute)),
    %% A value without a text is no trouble as long as nobody asks for it.
    NoText = call(no_text),
    ?assertError({python, 'builtins.RuntimeError', "no text", _}, py:str(NoText)),
    ?assertError({python, 'builtins.RuntimeError', "no text", _}, py:prepr(NoText)).

an_atom_beyond_latin1_goes_both_ways(_Config) ->
    ?assertEqual('ключ', call(utf8_atom)),
    ?assertEqual([{'ключ', 'ÿ', '🐍'}], py:pylist([{'ключ', 'ÿ', '🐍'}])),
    Longest = list_to_atom(lists:duplicate(255, 1082)),
    ?assertEqual([Longest], py:pylist([Longest])).

nested(Depth, Wrap, Value) -> lists:foldl(fun(_, Acc) -> Wrap(Acc) end, Value, lists:seq(1, Depth)).

a_deep_argument_is_refused(_Config) ->
    [
        ?assertError({py, {decode, _}}, call(depth, [nested(Depth, Wrap, Value)]), {Depth, Value})
     || Depth <- [1_100, 100_000], {Wrap, Value} <- deep_shapes()
    ].

deep_shapes() ->
    [
        {fun(X) -> [X] end, []},
        {fun(X) -> {X} end, {}},
        {fun(X) -> #{1 => X} end, #{}},
        {fun(X) -> {"dict", [{1, X}]} end, 1},
        {fun(X) -> {"set", [X]} end, 1},
        {fun(X) -> {"date", X} end, 1},
        {fun(X) -> [a | {X}] end, 1}
    ].

a_deep_result_is_refused(_Config) ->
    [
        ?assertError({py, {encode, _}}, call(Function, [Depth]), {Function, Depth})
     || Function <- [nested_list, nested_tuple, nested_dict], Depth <- [1_100, 100_000]
    ].

depths_within_the_limit_go_both_ways(_Config) ->
    List = nested(900, fun(X) -> [X] end, []),
    ?assertEqual(900, call(depth, [List])),
    ?assertEqual(List, call(nested_list, [900])),
    ?assertEqual([List], py:pylist([List])).

a_result_that_can_not_be_pickled_stays_in_python(_Config) ->
    [?assert(py_term:is_ref(call(Function))) || Function <- [lock, frame]].

ten_megabytes_are_printed(_Config) ->
    Size = 10_000_000,
    {undefined, Leader} = py_output:of_call(fun() -> call(print_much, [Size]) end),
    py_eventually:equals(Size + 1, fun() -> length(py_output:text(Leader)) end),
    py_output:stop(Leader),
    {undefined, Lines} = py_output:of_call(fun() -> call(print_lines, [10_000]) end),
    Expected = lists:append([integer_to_list(N) ++ "\n" || N <- lists:seq(0, 9_999)]),
    py_eventually:equals(Expected, fun() -> py_output:text(Lines) end),
    py_output:stop(Lines).

a_large_binary_goes_both_ways_in_three_times_its_size(_Config) ->
    Size = 200_000_000,
    [#{worker := Worker}] = py:workers(default),
    echo_in_three_times(Size, Worker, 3),
    PeakOfPython = py:func(py_faults, peak_bytes, [], #{worker => Worker}),
    ?assert(PeakOfPython =< 3 * Size, {python, PeakOfPython}),
    %% It is given back.
    [#{os_pid := OsPid}] = py:workers(default),
    py_eventually:holds(fun() -> py_launcher:resident_bytes(OsPid) < 50_000_000 end).

%% What one scheduler has allocated and another lets go of is free when the first one gets to it: where the machine is busy that may
%% be too late once.
echo_in_three_times(Size, Worker, Tries) ->
    %% Mapped by the emulator when it is needed; shared by all that hold it.
    Before = erlang:memory(total),
    Data = {bytes, binary:copy(<<"x">>, Size)},
    Watcher = spawn_link(fun() -> watch_memory(0) end),
    Echoed = py:func(py_faults, echo, [Data], #{worker => Worker}),
    Watcher ! {peak, self()},
    Peak = receive {peak, Bytes} -> Bytes end,
    ?assert({bytes, Echoed} =:= Data),
    %% And a little for what was printed meanwhile.
    case Peak - Before =< 3 * Size + 10_000_000 of
        true ->
            ok;
        false when Tries > 1 ->
            ok = py:restart_worker(Worker),
            echo_in_three_times(Size, Worker, Tries - 1);
        false ->
            error({beam, Peak - Before})
    end.

watch_memory(Peak) ->
    receive
        {peak, To} -> To ! {peak, Peak}
    after 5 ->
        %% The rhythm of looking.
        watch_memory(max(Peak, erlang:memory(total)))
    end.

%% The atom table of a BEAM of its own: its atoms stay until it ends.
a_hundred_thousand_atoms_do_not_fill_the_atom_table(Config) ->
    Text = beam_says(Config, [
        "Try = fun(First) -> try length(py:func(py_faults, atoms, [First, 10000])) "
        "catch error:{py, {encode, [_ | _]}} -> refused end end, "
        "Before = erlang:system_info(atom_count), "
        "Results = [Try(N * 10000) || N <- lists:seq(0, 9)], "
        "Added = erlang:system_info(atom_count) - Before, "
        %% What is known already costs nothing.
        "Again = Try(0), "
        "io:format(\"~0tp\", [{hd(Results), lists:last(Results), Added < 70000, Again, py:add(1, 2)}])"
    ]),
    ?assertEqual("{10000,refused,true,10000,3}", Text).

%%% Descriptors and frames

%% An answer to every call that may be open: whoever got it would get a wrong value.
forged() ->
    [
        begin
            Frame = <<131, 104, 3, 119, 1, "r", 97, Id, 119, 6, "forged">>,
            <<(byte_size(Frame)):32, Frame/binary>>
        end
     || Id <- lists:seq(1, 100)
    ].

a_frame_written_to_an_output_reaches_nobody(_Config) ->
    [#{worker := Worker} | _] = py:workers(default),
    Frames = iolist_to_binary(forged()),
    Others = [py_caller:start(fun() -> call(sleep_and_return, [0.01, N]) end) || N <- lists:seq(1, 40)],
    %% Numbers 1 and 2 are open, the others are nobody's.
    ?assertEqual(2, py:func(py_faults, write_everywhere, [{bytes, Frames}], #{worker => Worker})),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 40)], py_caller:results(Others)).

a_program_that_reads_standard_input_takes_no_call(Config) ->
    [#{worker := Worker} | _] = py:workers(default),
    Read = path(Config),
    Begun = path(Config),
    Shell = py_caller:start(fun() -> py:func(py_faults, read_stdin_of_a_shell, [Begun, Read], #{worker => Worker}) end),
    wait_for(Begun),
    Queued = [
        py_caller:start(fun() -> py:func(py_faults, echo, [N], #{worker => Worker}) end)
     || N <- lists:seq(1, 50)
    ],
    ?assertEqual({ok, 0}, py_caller:result(Shell)),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 50)], py_caller:results(Queued)),
    ?assertEqual({ok, <<>>}, file:read_file(Read)).

%% Python that writes what is none: its interpreter is not trusted any longer.
a_frame_that_is_none_costs_the_interpreter(_Config) ->
    [
        begin
            [#{worker := Worker, os_pid := OsPid} | _] = py:workers(default),
            ?assertError(
                {py, {worker_down, {protocol, _}}},
                py:func(py_faults, write_to_the_wire, [{bytes, Bytes}], #{worker => Worker}),
                Bytes
            ),
            wait_replaced(Worker, OsPid)
        end
     || Bytes <- [
            <<"no frame at all">>,
            <<0:32>>,
            <<3:32, 131, 104, 3>>,
            framed(<<131, 250, 1, 2>>),
            framed(<<131, 104, 3, 119, 1, "z", 97, 1, 106>>),
            framed(<<131, 104, 3, 119, 1, "r", 97, 200, 106>>),
            framed(<<131, 80, 16#7fffffff:32, (zlib:compress(binary:copy(<<0>>, 1_000)))/binary>>)
        ]
    ].

framed(Bytes) -> <<(byte_size(Bytes)):32, Bytes/binary>>.

%% The rest of it never comes, and what follows is taken for it.
a_frame_that_is_longer_than_what_comes_is_ended_by_the_deadline(_Config) ->
    [
        begin
            [#{worker := Worker, os_pid := OsPid} | _] = py:workers(default),
            import(Worker),
            ?assertError(
                {py, timeout},
                py:func(py_faults, write_to_the_wire, [{bytes, Bytes}], #{worker => Worker, timeout => 200})
            ),
            wait_replaced(Worker, OsPid)
        end
     || Bytes <- [<<100_000:32, 131, 104, 3>>, <<16#ffffffff:32, 131, 104, 3>>]
    ].

a_zlib_bomb_is_refused_by_python(_Config) ->
    [#{worker := Worker, os_pid := OsPid} | _] = py:workers(default),
    Bomb = zlib:compress(binary:copy(<<0>>, 300_000_000)),
    Claims = [300_000_000, 1_000, 16#ffffffff],
    [
        begin
            ok = gen_server:cast(Worker, {message, <<131, 80, Claim:32, Bomb/binary>>}),
            ?assertEqual(3, py:func(operator, add, [1, 2], #{worker => Worker}))
        end
     || Claim <- Claims
    ],
    ?assertEqual(OsPid, os_pid(Worker)),
    ?assert(py:func(py_faults, peak_bytes, [], #{worker => Worker}) < 100_000_000).

frames_that_python_can_not_read_hurt_nobody(_Config) ->
    [#{worker := Worker, os_pid := OsPid} | _] = py:workers(default),
    [
        begin
            ok = gen_server:cast(Worker, {message, Frame}),
            ?assertEqual(3, py:func(operator, add, [1, 2], #{worker => Worker}), Frame)
        end
     || Frame <- [
            <<>>,
            <<131>>,
            <<0>>,
            <<131, 250>>,
            <<131, 104, 5>>,
            <<131, 104, 5, 100, 1:16, "C", 98, 1_000_000:32>>,
            <<131, 108, 16#ffffffff:32>>,
            <<131, 109, 16#ffffffff:32, 1>>,
            <<131, 104, 2, 119, 1, "M", 111, 16#ffffffff:32, 0>>,
            crypto:strong_rand_bytes(1_000)
        ]
    ],
    ?assertEqual(OsPid, os_pid(Worker)).

%%% Starts

a_pool_whose_python_does_not_start_says_why_and_leaves_nothing(Config) ->
    Python = py:const(sys, executable),
    Patched = fun(Before) -> ["#!/bin/sh\nshift\nboot=$1\nshift\nexec '", Python, "' -c '", Before, "\nimport sys\nexec(sys.argv.pop(1))' \"$boot\" \"$@\"\n"] end,
    Starts = [
        {"#!/bin/sh\necho 'no licence' >&2\nexit 7\n", "no licence"},
        {"#!/bin/sh\nkill -9 $$\n", ""},
        {Patched("import sys; sys.version_info = (3, 9, 1)"), "py needs Python 3.10 or later"},
        {Patched("import sys; sys.modules[\"erlang\"] = None"), "lacks erlang-py"}
    ],
    [
        begin
            File = program(Config, Script),
            {error, {py, {start, cold, {start, {failed, File, Text}}}} = Error} =
                py:start_pool(cold, pool(Config, #{size => 2, python => File})),
            contains(Said, Text),
            contains(File, py_error:text(Error))
        end
     || {Script, Said} <- Starts
    ],
    ?assertMatch(
        {error, {py, {start, cold, {start, {no_python, _, _}}}}}, py:start_pool(cold, #{python => "/no/such/python"})
    ).

a_python_that_prints_a_banner_serves(Config) ->
    File = program(Config, ["#!/bin/sh\necho welcome\necho welcome >&2\nexec '", py:const(sys, executable), "' \"$@\"\n"]),
    {ok, _} = py:start_pool(banner, pool(Config, #{python => File})),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => banner})),
    ok = py:stop_pool(banner).

program(Config, Script) ->
    File = unicode:characters_to_list(path(Config)),
    ok = file:write_file(File, Script),
    ok = file:change_mode(File, 8#755),
    File.

%%% Deadlines

%% The call is over long before it would be killed, its `finally' has run, and the interpreter is the same.
interrupted(Function, Noted, Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(default),
    Begun = path(Config),
    Ended = path(Config),
    Options = #{worker => Worker, timeout => 500},
    ?assertError({py, timeout}, py:func(py_faults, Function, [Begun, Ended], Options)),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{worker => Worker, timeout => 5_000})),
    ?assertEqual(["x"], lines(Begun)),
    ?assertEqual(Noted, lines(Ended)),
    ?assertEqual(OsPid, os_pid(Worker)).

a_loop_in_python_is_interrupted(Config) -> interrupted(loop, ["x"], Config).

a_call_that_sleeps_is_interrupted(Config) -> interrupted(sleep, ["x"], Config).

a_call_that_catches_exceptions_is_interrupted(Config) -> interrupted(swallow_exceptions, ["x"], Config).

a_call_that_answers_after_its_deadline_answers_nobody(Config) -> interrupted(answer_all_the_same, ["x"], Config).

%% It can't be interrupted: it is killed `kill_after' its deadline, and its worker gets another interpreter.
killed(Function, Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(default),
    Begun = path(Config),
    Start = erlang:monotonic_time(millisecond),
    ?assertError({py, timeout}, py:func(py_faults, Function, [Begun], #{worker => Worker, timeout => 500})),
    Took = erlang:monotonic_time(millisecond) - Start,
    %% The caller does not wait for the end of its Python, which comes a second later.
    ?assert(Took >= 500 andalso (Took < 1_500 orelse py_os_process:alive(OsPid)), Took),
    ?assertEqual(["x"], lines(Begun)),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{worker => Worker, timeout => 10_000})),
    ?assertNotEqual(OsPid, os_pid(Worker)),
    ?assertNot(py_os_process:alive(OsPid)).

a_call_that_catches_everything_is_killed(Config) -> killed(go_on_forever, Config).

c_code_that_never_returns_is_killed(Config) -> killed(never_return, Config).

c_code_that_keeps_the_interpreter_is_killed(Config) -> killed(keep_the_interpreter, Config).

a_stopped_process_is_killed_at_the_deadline(_Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(default),
    signal("STOP", OsPid),
    ?assertError({py, timeout}, py:func(operator, add, [1, 2], #{worker => Worker, timeout => 200})),
    wait_replaced(Worker, OsPid),
    ?assertNot(py_os_process:alive(OsPid)).

a_megabyte_of_arguments_waits_behind_a_call_that_is_killed(Config) -> behind(keep_the_interpreter, replaced, Config).

a_megabyte_of_arguments_waits_behind_a_call_that_is_interrupted(Config) -> behind(go_to_sleep, kept, Config).

behind(Function, Fate, Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(default),
    Begun = path(Config),
    Slow = py_caller:start(fun() ->
        case Function of
            keep_the_interpreter -> py:func(py_faults, Function, [Begun], #{worker => Worker, timeout => 500});
            go_to_sleep -> py:func(py_faults, sleep, [Begun, path(Config)], #{worker => Worker, timeout => 500})
        end
    end),
    wait_for(Begun),
    Queued = [
        py_caller:start(fun() ->
            py:func(builtins, len, [{bytes, binary:copy(<<N>>, 1_000_000 + N)}], #{worker => Worker})
        end)
     || N <- lists:seq(1, 20)
    ],
    ?assertEqual({error, {py, timeout}}, py_caller:result(Slow)),
    ?assertEqual([{ok, 1_000_000 + N} || N <- lists:seq(1, 20)], py_caller:results(Queued)),
    case Fate of
        kept -> ?assertEqual(OsPid, os_pid(Worker));
        replaced -> ?assertNotEqual(OsPid, os_pid(Worker))
    end.

a_call_whose_deadline_passes_in_the_queue_never_runs(Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(default),
    Begun = path(Config),
    Counter = path(Config),
    Slow = py_caller:start(fun() -> py:func(py_faults, note_and_sleep, [Begun, 1], #{worker => Worker}) end),
    wait_for(Begun),
    Late = [
        py_caller:start(fun() -> py:func(py_faults, note, [Counter, N], #{worker => Worker, timeout => Timeout}) end)
     || N <- lists:seq(1, 10), Timeout <- [0, 50, 200]
    ],
    ?assertEqual([{error, {py, timeout}}], lists:usort(py_caller:results(Late))),
    ?assertEqual({ok, OsPid}, py_caller:result(Slow)),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{worker => Worker})),
    ?assertEqual([], lines(Counter)),
    ?assertEqual(OsPid, os_pid(Worker)).

%% For as long as this; on a machine that is busy longer, until it was done often enough.
-define(HAMMER_MS, 4_000).
-define(MOST_HAMMER_MS, 60_000).

%% What was done is counted in the first, the second says whether to go on.
hammering(Enough) ->
    Done = counters:new(1, []),
    Began = erlang:monotonic_time(millisecond),
    GoesOn = fun() ->
        Ms = erlang:monotonic_time(millisecond) - Began,
        Ms < ?HAMMER_MS orelse (counters:get(Done, 1) =< Enough andalso Ms < ?MOST_HAMMER_MS)
    end,
    {Done, GoesOn}.

%% Deadlines that pass just before, while and just after a call runs.

a_late_interrupt_hurts_nobody(_Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(default),
    {Done, GoesOn} = hammering(100),
    Note = fun() -> counters:add(Done, 1, 1) end,
    Patient = [py_caller:start(fun() -> ask(Worker, GoesOn, Note, fun() -> infinity end, []) end) || _ <- lists:seq(1, 4)],
    Hurried = [
        py_caller:start(fun() -> ask(Worker, GoesOn, fun() -> ok end, fun() -> rand:uniform(30) end, []) end)
     || _ <- lists:seq(1, 4)
    ],
    Right = [Result || {ok, Results} <- py_caller:results(Patient), Result <- Results],
    ?assert(length(Right) > 100, length(Right)),
    ?assertEqual([right], lists:usort(Right)),
    Some = [Result || {ok, Results} <- py_caller:results(Hurried), Result <- Results],
    ?assertEqual([right, timeout], lists:usort(Some)),
    ?assertEqual(OsPid, os_pid(Worker)),
    ?assertMatch(#{restarts := 0}, info(Worker)).

ask(Worker, GoesOn, Note, Timeout, Results) ->
    case GoesOn() of
        true ->
            Value = rand:uniform(1_000_000),
            Options = #{worker => Worker, timeout => Timeout()},
            Result =
                try py:func(py_faults, sleep_and_return, [0.001 * rand:uniform(4), Value], Options) of
                    Value -> right;
                    Other -> {wrong, Other}
                catch
                    error:{py, timeout} -> timeout;
                    error:Error -> Error
                end,
            Note(),
            ask(Worker, GoesOn, Note, Timeout, [Result | Results]);
        false ->
            Results
    end.

%%% Callers that die

a_caller_that_dies_has_its_call_interrupted(Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(default),
    [
        begin
            Begun = path(Config),
            Ended = path(Config),
            Caller = py_caller:start(fun() -> py:func(py_faults, Function, [Begun, Ended], #{worker => Worker}) end),
            wait_for(Begun),
            py_caller:kill(Caller),
            wait_for(Ended)
        end
     || Function <- [loop, sleep]
    ],
    ?assertEqual(OsPid, os_pid(Worker)).

a_caller_that_dies_in_the_queue_has_its_call_dropped(Config) ->
    [#{worker := Worker, os_pid := OsPid}] = py:workers(default),
    Begun = path(Config),
    Counter = path(Config),
    Slow = py_caller:start(fun() -> py:func(py_faults, note_and_sleep, [Begun, 1], #{worker => Worker}) end),
    wait_for(Begun),
    Queued = [
        py_caller:start(fun() -> py:func(py_faults, note, [Counter, N], #{worker => Worker}) end)
     || N <- lists:seq(1, 20)
    ],
    py_eventually:holds(fun() -> map_get(in_flight, info(Worker)) =:= 21 end),
    {Die, Live} = lists:split(10, Queued),
    lists:foreach(fun py_caller:kill/1, Die),
    ?assertEqual({ok, OsPid}, py_caller:result(Slow)),
    ?assertEqual([{ok, N} || N <- lists:seq(11, 20)], py_caller:results(Live)),
    ?assertEqual([integer_to_list(N) || N <- lists:seq(11, 20)], by_number(lines(Counter))),
    ?assertEqual(OsPid, os_pid(Worker)).

%%% Calls that were not begun

calls_that_were_not_begun_move_to_another_interpreter(Config) ->
    [#{worker := Worker, os_pid := OsPid}, #{worker := Other, os_pid := OtherPid}] = py:workers(default),
    %% Both are busy, so what comes spreads over both.
    [Killed, Kept] = [slow(Config, W) || W <- [Worker, Other]],
    Counter = path(Config),
    Pinned = [noting(Counter, N, #{worker => Worker}) || N <- lists:seq(1, 50)],
    Free = [noting(Counter, N, #{}) || N <- lists:seq(51, 150)],
    py_eventually:holds(fun() -> lists:sum([N || #{in_flight := N} <- py:workers(default)]) =:= 152 end),
    ?assert(map_get(in_flight, info(Worker)) > 51),
    py_os_process:kill(OsPid),
    ?assertMatch({error, {py, {worker_down, {signal, 9, _}}}}, py_caller:result(Killed)),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 50)], py_caller:results(Pinned)),
    ?assertEqual([{ok, N} || N <- lists:seq(51, 150)], py_caller:results(Free)),
    ?assertEqual({ok, OtherPid}, py_caller:result(Kept)),
    ?assertEqual([integer_to_list(N) || N <- lists:seq(1, 150)], by_number(lines(Counter))).

slow(Config, Worker) ->
    Begun = path(Config),
    Caller = py_caller:start(fun() -> py:func(py_faults, note_and_sleep, [Begun, 2], #{worker => Worker}) end),
    wait_for(Begun),
    Caller.

noting(Counter, N, Options) -> py_caller:start(fun() -> py:func(py_faults, note, [Counter, N], Options) end).

by_number(Lines) -> [integer_to_list(N) || N <- lists:sort([list_to_integer(Line) || Line <- Lines])].

%% Every call is answered once. Answered with its result: it ran once. With the death of its worker: at most once. There is
%% no other answer, and no other run.
no_call_runs_twice_whatever_dies(Config) ->
    Counter = path(Config),
    {Killed, GoesOn} = hammering(20),
    Callers = [py_caller:start(fun() -> count(Counter, GoesOn, []) end) || _ <- lists:seq(1, 100)],
    kill_while(GoesOn, Killed),
    Kills = counters:get(Killed, 1),
    Answers = lists:append([Some || {ok, Some} <- py_caller:results(Callers)]),
    Runs = lists:foldl(fun(Line, Acc) -> maps:update_with(Line, fun(N) -> N + 1 end, 1, Acc) end, #{}, lines(Counter)),
    Times = fun(Number) -> maps:get(integer_to_list(Number), Runs, 0) end,
    ct:pal("~w calls, ~w kills, ~w lost", [length(Answers), Kills, length([down || {_, down} <- Answers])]),
    ?assert(Kills > 20, Kills),
    ?assert(length([ok || {_, ok} <- Answers]) > 50),
    ?assertEqual([], [Answer || {_, Answer} <- Answers, Answer =/= ok, Answer =/= down]),
    ?assertEqual([], [{Number, Times(Number)} || {Number, ok} <- Answers, Times(Number) =/= 1]),
    ?assertEqual([], [{Number, Times(Number)} || {Number, down} <- Answers, Times(Number) > 1]),
    Known = maps:from_list([{integer_to_list(Number), Answer} || {Number, Answer} <- Answers]),
    ?assertEqual(length(Answers), map_size(Known)),
    ?assertEqual([], maps:keys(Runs) -- maps:keys(Known)).

count(Counter, GoesOn, Answers) ->
    case GoesOn() of
        true ->
            Number = erlang:unique_integer([positive]),
            Answer =
                try py:func(py_faults, note, [Counter, Number]) of
                    Number -> ok;
                    Other -> {wrong, Other}
                catch
                    error:{py, {worker_down, {signal, 9, _}}} -> down;
                    %% A write to the dead one closed the port before its exit status came.
                    error:{py, {worker_down, closed}} -> down;
                    error:Error -> Error
                end,
            count(Counter, GoesOn, [{Number, Answer} | Answers]);
        false ->
            Answers
    end.

kill_while(GoesOn, Killed) ->
    %% The time between two deaths is the subject.
    timer:sleep(20 + rand:uniform(30)),
    case GoesOn() of
        true ->
            Serving = [OsPid || #{state := serving, os_pid := OsPid} <- py:workers(default)],
            %% It may have died since.
            _ = [signal("KILL", lists:nth(rand:uniform(length(Serving)), Serving)) || Serving =/= []],
            counters:add(Killed, 1, min(1, length(Serving))),
            kill_while(GoesOn, Killed);
        false ->
            ok
    end.

%%% Deaths

%% The call that ended its interpreter says what it died of; the next one is served.
death_of(Function, Args) ->
    [#{worker := Worker, os_pid := OsPid} | _] = py:workers(default),
    Why =
        try py:func(py_faults, Function, Args, #{worker => Worker}) of
            Value -> {value, Value}
        catch
            error:{py, {worker_down, Reason}} -> Reason
        end,
    wait_replaced(Worker, OsPid),
    Why.

an_exit_tells_its_status_and_the_last_words(_Config) ->
    ?assertEqual({exit_status, 3, "the first line\nthe last words"}, death_of(say_and_exit, [3])),
    ?assertEqual({exit_status, 0, "the first line\nthe last words"}, death_of(say_and_exit, [0])),
    Lines = lists:join("\n", ["line " ++ integer_to_list(N) || N <- lists:seq(980, 999)]),
    ?assertEqual({exit_status, 4, lists:append(Lines)}, death_of(say_much_and_exit, [])),
    ?assertEqual({exit_status, 5, "Fatal Python error: Bus error\n\nStack (most recent call first):\n  in here"}, death_of(say_where_and_exit, [])),
    contains("the last words", py_error:text({py, {worker_down, {exit_status, 3, "the last words"}}})).

a_segmentation_fault_tells_where(_Config) ->
    [
        begin
            {signal, 11, Text} = death_of(Function, []),
            contains("Fatal Python error: Segmentation fault", Text),
            contains("in read_nothing", Text)
        end
     || Function <- [read_nothing, read_nothing_in_a_thread]
    ].

an_abort_tells_where(_Config) ->
    {signal, 6, Text} = death_of(abort, []),
    contains("Fatal Python error: Aborted", Text),
    contains("in abort", Text).

a_signal_that_a_call_sends_itself_is_told(_Config) ->
    [?assertEqual({signal, Number, ""}, death_of(end_itself, [Number])) || Number <- [9, 15]].

workers_killed_all_at_once_are_all_replaced(Config) ->
    Idle = py:workers(default),
    [py_os_process:kill(OsPid) || #{os_pid := OsPid} <- Idle],
    [wait_replaced(Worker, OsPid) || #{worker := Worker, os_pid := OsPid} <- Idle],
    Callers = [slow(Config, Worker) || #{worker := Worker} <- Idle],
    Busy = py:workers(default),
    [py_os_process:kill(OsPid) || #{os_pid := OsPid} <- Busy],
    [?assertMatch({error, {py, {worker_down, {signal, 9, ""}}}}, py_caller:result(Caller)) || Caller <- Callers],
    [wait_replaced(Worker, OsPid) || #{worker := Worker, os_pid := OsPid} <- Busy].

four_deaths_in_one_second_are_survived(_Config) ->
    [#{worker := Worker} | _] = py:workers(default),
    Deaths = [
        begin
            #{os_pid := OsPid} = info(Worker),
            py_os_process:kill(OsPid),
            %% Waits for the next one.
            ?assertEqual(3, py:func(operator, add, [1, 2], #{worker => Worker})),
            erlang:monotonic_time(millisecond)
        end
     || _ <- lists:seq(1, 4)
    ],
    %% So many are within the ten seconds of the budget.
    ?assert(lists:last(Deaths) - hd(Deaths) < 10_000),
    ?assertMatch(#{state := serving, restarts := 4}, info(Worker)).

a_python_that_closes_the_port_is_replaced(_Config) ->
    ?assertEqual(
        {exit_status, 1, "erl: the port's descriptors were closed or replaced: Bad file descriptor"},
        death_of(close_the_port, [<<"return">>])
    ),
    %% A port tells of the end of its pipe only with the end of its program, so it is the deadline that ends this one.
    [#{worker := Worker, os_pid := OsPid} | _] = py:workers(default),
    import(Worker),
    Options = #{worker => Worker, timeout => 500},
    ?assertError({py, timeout}, py:func(py_faults, close_the_port, [<<"sleep">>], Options)),
    wait_replaced(Worker, OsPid).

sys_exit_ends_its_call_and_nothing_else(_Config) ->
    Results = [
        py_caller:result(py_caller:start(fun() -> call(leave, [InAThread]) end))
     || _ <- lists:seq(1, 10), InAThread <- [false, true]
    ],
    [
        ?assertMatch(
            Result when Result =:= {ok, "stayed"} orelse element(2, element(2, Result)) =:= 'builtins.SystemExit', Result
        )
     || Result <- Results
    ],
    ?assertEqual([0, 0], [Restarts || #{restarts := Restarts} <- py:workers(default)]).

a_worker_process_that_is_killed_leaves_nothing_behind(Config) ->
    [
        begin
            [#{worker := Worker, os_pid := OsPid} | _] = py:workers(default),
            Begun = path(Config),
            Caller = py_caller:start(fun() -> py:func(py_faults, Function, Args(Begun), #{worker => Worker}) end),
            wait_for(Begun),
            exit(Worker, kill),
            ?assertEqual({error, {py, {worker_down, killed}}}, py_caller:result(Caller)),
            py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end, 2_000)
        end
     || {Function, Args} <- [
            {sleep, fun(Begun) -> [Begun, path(Config)] end},
            {keep_the_interpreter, fun(Begun) -> [Begun] end},
            {leave_children, fun(Begun) -> [Begun, 60] end}
        ]
    ].

%%% Limits

max_calls_gives_a_new_interpreter_and_loses_no_call(Config) ->
    {ok, _} = py:start_pool(used, pool(Config, #{max_calls => 50})),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(used),
    Counter = path(Config),
    Callers = [
        py_caller:start(fun() ->
            [py:func(py_faults, note, [Counter, Caller * 100 + N], #{pool => used}) || N <- lists:seq(1, 10)]
        end)
     || Caller <- lists:seq(1, 50)
    ],
    Expected = [{ok, [Caller * 100 + N || N <- lists:seq(1, 10)]} || Caller <- lists:seq(1, 50)],
    ?assertEqual(Expected, py_caller:results(Callers)),
    ?assertEqual(lists:sort(lists:append([Numbers || {ok, Numbers} <- Expected])), lists:sort([list_to_integer(L) || L <- lines(Counter)])),
    wait_replaced(Worker, OsPid),
    ?assert(map_get(restarts, info(Worker)) > 1),
    ok = py:stop_pool(used).

-define(MOST_BYTES, 200_000_000).

a_call_that_keeps_most_of_max_memory_is_followed_by_a_new_interpreter(Config) ->
    {ok, _} = py:start_pool(small, pool(Config, #{max_memory => ?MOST_BYTES})),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(small),
    Keep = ?MOST_BYTES * 4 div 5,
    ?assertEqual(Keep, py:func(py_faults, allocate, [Keep, true], #{pool => small})),
    wait_replaced(Worker, OsPid),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => small})),
    ok = py:stop_pool(small).

%% Neither by count nor by memory; what it is asked for is done, and its limit holds.
a_pool_that_never_recycles_keeps_its_interpreter(Config) ->
    {ok, _} = py:start_pool(holder, pool(Config, #{max_memory => ?MOST_BYTES, max_calls => 3, recycle => never})),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(holder),
    Held = py:func(builtins, dict, #{pool => holder, return => ref}),
    Keep = ?MOST_BYTES * 4 div 5,
    ?assertEqual(Keep, py:func(py_faults, allocate, [Keep, true], #{pool => holder})),
    %% Longer than what is looked at now and then.
    ?assertEqual(undefined, py:func(time, sleep, [0.3], #{pool => holder})),
    [?assertEqual(3, py:func(operator, add, [1, 2], #{pool => holder})) || _ <- lists:seq(1, 20)],
    ?assertError({python, 'builtins.MemoryError', _, _}, py:func(builtins, bytearray, [?MOST_BYTES], #{pool => holder})),
    ?assertMatch(#{os_pid := OsPid, restarts := 0, state := serving}, info(Worker)),
    ?assertEqual(0, py:len(Held)),
    ?assertMatch(#{recycles := 0, restarts := 0}, py:stats(holder)),
    ok = py:restart_worker(Worker),
    ?assertMatch(#{recycles := 1, restarts := 0}, py:stats(holder)),
    ?assertError({py, {stale_reference, _}}, py:len(Held)),
    ok = py:stop_pool(holder).

%% It keeps to its limit: what it holds is its own as long as it runs, and its neighbours' calls go on.
a_call_that_holds_most_of_max_memory_for_long_ends_as_any_other(Config) ->
    {ok, _} = py:start_pool(small, pool(Config, #{max_memory => ?MOST_BYTES, drain_timeout => 100})),
    [#{os_pid := OsPid}] = py:workers(small),
    Size = ?MOST_BYTES * 4 div 5,
    ?assertEqual(Size, py:func(py_faults, allocate_for, [Size, 1.0], #{pool => small, timeout => 20_000})),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => small})),
    ?assertMatch([#{os_pid := OsPid, restarts := 0}], py:workers(small)),
    ok = py:stop_pool(small).

a_call_that_wants_more_than_max_memory_gets_a_memory_error(Config) ->
    {ok, _} = py:start_pool(small, pool(Config, #{max_memory => ?MOST_BYTES})),
    [
        ?assertError(
            {python, 'builtins.MemoryError', _, _}, py:func(py_faults, allocate, [More, true], #{pool => small})
        )
     || More <- [?MOST_BYTES, 4 * ?MOST_BYTES, 1 bsl 40]
    ],
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => small})),
    %% Also for arguments: with no room for the frame, for a copy of it, or for the value.
    [#{os_pid := OsPid}] = py:workers(small),
    [
        %% Caught here: a report of what failed would hold the argument.
        ?assertEqual(
            'builtins.MemoryError',
            try py:func(builtins, len, [{bytes, binary:copy(<<0>>, Bytes)}], #{pool => small, timeout => 20_000})
            catch
                error:{python, Class, _, _} -> Class;
                error:{py, Reason} -> Reason
            end,
            Bytes
        )
     || Bytes <- [?MOST_BYTES * 6 div 10, ?MOST_BYTES * 9 div 10, 2 * ?MOST_BYTES]
    ],
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => small})),
    ?assertMatch([#{os_pid := OsPid}], py:workers(small)),
    ok = py:stop_pool(small).

a_full_queue_is_told_at_once_and_leaves_nothing_behind(Config) ->
    {ok, _} = py:start_pool(short, pool(Config, #{max_queue => 3})),
    [#{worker := Worker}] = py:workers(short),
    Slow = slow(Config, Worker),
    Queued = [
        begin
            Caller = py_caller:start(fun() -> py:func(py_faults, echo, [N], #{pool => short}) end),
            py_eventually:equals(1 + N, fun() -> map_get(in_flight, info(Worker)) end),
            Caller
        end
     || N <- lists:seq(1, 3)
    ],
    {RefusedUs, _} = timer:tc(fun() ->
        [?assertError({py, overload}, py:func(py_faults, echo, [N], Options)) || N <- lists:seq(1, 100), Options <- [#{pool => short}, #{worker => Worker}]]
    end),
    ?assertMatch({ok, _}, py_caller:result(Slow)),
    ?assertEqual([{ok, N} || N <- [1, 2, 3]], py_caller:results(Queued)),
    ?assertMatch(#{in_flight := 0}, info(Worker)),
    {ServedUs, Served} = timer:tc(fun() -> [py:func(py_faults, echo, [N], #{pool => short}) || N <- lists:seq(1, 100)] end),
    ?assertEqual(lists:seq(1, 100), Served),
    %% None waited for the slow one, nor for anything else.
    ?assert(RefusedUs < 20 * ServedUs, {RefusedUs, ServedUs}),
    ok = py:stop_pool(short).

%%% Workers that are taken away

calls_end_with_their_results_when_their_worker_is_removed(Config) ->
    {ok, _} = py:start_pool(three, pool(Config, #{size => 3})),
    [#{worker := Worker}, #{worker := Second} | _] = py:workers(three),
    Open = slow(Config, Worker),
    ?assertEqual(ok, py:remove_worker(Worker)),
    ?assertMatch({ok, _}, py_caller:result(Open)),
    ?assertEqual(2, length(py:workers(three))),
    ?assertError({py, {unknown_worker, Worker}}, py:func(os, getpid, [], #{worker => Worker})),
    ok = py:remove_worker(Second),
    [#{worker := Last}] = py:workers(three),
    ?assertEqual({error, {py, {last_worker, three}}}, py:remove_worker(Last)),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => three})),
    ok = py:stop_pool(three).

a_call_that_outlives_the_removal_of_its_worker_is_told(Config) ->
    {ok, _} = py:start_pool(two, pool(Config, #{size => 2, drain_timeout => 100})),
    [#{worker := Worker, os_pid := OsPid} | _] = py:workers(two),
    Open = slow(Config, Worker),
    ok = py:remove_worker(Worker),
    ?assertEqual({error, {py, {worker_down, stopped}}}, py_caller:result(Open)),
    ?assertNot(py_os_process:alive(OsPid)),
    ok = py:stop_pool(two).

resizing_down_and_up_loses_no_call(Config) ->
    {ok, _} = py:start_pool(elastic, pool(Config, #{size => 1})),
    {Callers, Stop} = load(20, #{pool => elastic}),
    [
        begin
            ok = py:resize(elastic, Size),
            ?assertEqual(Size, length([W || #{state := serving} = W <- py:workers(elastic)]))
        end
     || Size <- [4, 1, 3, 2, 1]
    ],
    no_call_was_lost(Callers, Stop),
    ok = py:stop_pool(elastic).

restarting_every_worker_under_load_loses_no_call(_Config) ->
    Before = os_pids(),
    {Callers, Stop} = load(20, #{}),
    [ok = py:restart_worker(Worker) || _ <- [once, again], #{worker := Worker} <- py:workers(default)],
    no_call_was_lost(Callers, Stop),
    ?assertEqual(Before, Before -- os_pids()).

%% Callers that call until they are told to stop; what they got that was wrong, and how many were right.
load(Count, Options) ->
    Going = atomics:new(1, []),
    Callers = [py_caller:start(fun() -> call_on(Going, Options, 0) end) || _ <- lists:seq(1, Count)],
    {Callers, fun() -> atomics:put(Going, 1, 1) end}.

call_on(Going, Options, Right) ->
    case atomics:get(Going, 1) of
        0 ->
            ?assertEqual(Right, py:func(py_faults, sleep_and_return, [0.001, Right], Options)),
            call_on(Going, Options, Right + 1);
        _ ->
            Right
    end.

no_call_was_lost(Callers, Stop) ->
    Stop(),
    [?assertMatch({ok, Right} when Right > 0, py_caller:result(Caller)) || Caller <- Callers].

a_stopped_pool_lets_calls_end_when_there_is_time(Config) ->
    [
        begin
            {ok, _} = py:start_pool(brief, pool(Config, #{size => 2})),
            Callers = [slow(Config, Worker) || #{worker := Worker} <- py:workers(brief)],
            ok = py:stop_pool(brief, Drain),
            [?assertMatch(Expected, kind(py_caller:result(Caller))) || Caller <- Callers],
            ?assertError({py, {unknown_pool, brief}}, py:func(os, getpid, #{pool => brief}))
        end
     || {Drain, Expected} <- [{10_000, ok}, {100, stopped}, {0, stopped}]
    ].

a_stopped_application_lets_calls_end_when_there_is_time(Config) ->
    [
        begin
            {ok, _} = py:start(),
            Callers = [slow(Config, Worker) || #{worker := Worker} <- py:workers(default)],
            Start = erlang:monotonic_time(millisecond),
            {ok, stopped} = py:stop(Drain),
            ?assert(erlang:monotonic_time(millisecond) - Start < 5_000),
            [?assertMatch(Expected, kind(py_caller:result(Caller))) || Caller <- Callers],
            ?assertEqual([], py_os_process:descendants()),
            ?assertError({py, not_started}, py:add(1, 2))
        end
     || {Drain, Expected} <- [{10_000, ok}, {100, stopped}, {0, stopped}]
    ].

kind({ok, _}) -> ok;
kind({error, {py, {worker_down, stopped}}}) -> stopped;
kind(Other) -> Other.

a_module_whose_source_has_changed_is_loaded_again(Config) ->
    [source_has_changed(Config, Name, Env) || {Name, Env} <- [{"kept", ""}, {"unkept", "1"}]].

%% Python keeps bytecode beside the source, or is told not to.
source_has_changed(Config, Name, DontWriteBytecode) ->
    Directory = filename:absname(filename:join(?config(priv_dir, Config), "changing_" ++ Name)),
    Package = filename:join(Directory, "py_changing"),
    ok = filelib:ensure_dir(filename:join(Package, "x")),
    Sources = [{'py_changing', "__init__.py"}, {'py_changing.part', "part.py"}],
    %% Of the same length and within the same second, as far as the file's time and size tell.
    Write = fun(Value) ->
        [
            begin
                File = filename:join(Package, Base),
                ok = file:write_file(File, io_lib:format("def value():\n    return ~w\n", [Value])),
                ok = file:change_time(File, {{2024, 1, 1}, {0, 0, 0}})
            end
         || {_, Base} <- Sources
        ]
    end,
    Write(10),
    %% What an earlier run has left.
    true = py:func(compileall, compile_dir, [unicode:characters_to_binary(Package)], [{quiet, 1}]),
    {ok, _} = py:start_pool(changing, #{
        size => 2, python_path => [Directory], env => [{"PYTHONDONTWRITEBYTECODE", DontWriteBytecode}]
    }),
    Before = os_pids(changing),
    Values = fun() ->
        [py:func(Module, value, [], #{worker => W}) || #{worker := W} <- py:workers(changing), {Module, _} <- Sources]
    end,
    %% Where it is not loaded, there is nothing to be loaded again.
    ?assertMatch([{_, not_loaded}, {_, not_loaded}], py:reload(changing, py_changing)),
    ?assertEqual([10, 10, 10, 10], Values()),
    Reload = fun(Module) ->
        Others = [{W, not_loaded} || #{worker := W} <- py:workers(default)],
        ?assertEqual(
            lists:sort(Others ++ [{W, ok} || #{worker := W} <- py:workers(changing)]),
            lists:sort(py:reload(Module))
        )
    end,
    [
        begin
            Write(New),
            [Reload(Module) || {Module, _} <- Sources],
            ?assertEqual([New, New, New, New], Values())
        end
     || New <- lists:seq(11, 20)
    ],
    ok = file:write_file(filename:join(Package, "__init__.py"), "def value(:\n"),
    ?assertMatch([{_, {error, {python, 'builtins.SyntaxError', _, _}}} | _], py:reload(changing, py_changing)),
    ?assertEqual([20, 20, 20, 20], Values()),
    ?assertEqual(Before, os_pids(changing)),
    Write(21),
    [Reload(Module) || {Module, _} <- Sources],
    %% An interpreter that starts now reads what the last one has left.
    [py:restart_worker(W) || #{worker := W} <- py:workers(changing)],
    ?assertEqual([21, 21, 21, 21], Values()),
    [?assertNotEqual(OsPid, New) || {OsPid, New} <- lists:zip(Before, os_pids(changing))],
    ok = py:stop_pool(changing).

an_edit_within_the_second_is_seen_by_the_next_interpreter(Config) ->
    Directory = filename:absname(filename:join(?config(priv_dir, Config), "edited")),
    File = filename:join(Directory, "py_edited_again.py"),
    ok = filelib:ensure_dir(File),
    Write = fun(Value) -> ok = file:write_file(File, io_lib:format("def value():\n    return ~w\n", [Value])) end,
    {ok, _} = py:start_pool(edited, #{size => 1, python_path => [Directory], env => [{"PYTHONDONTWRITEBYTECODE", ""}]}),
    [
        begin
            Write(New),
            [ok = py:restart_worker(W) || #{worker := W} <- py:workers(edited)],
            ?assertEqual(New, py:func(py_edited_again, value, [], #{pool => edited}))
        end
     || New <- lists:seq(10, 14)
    ],
    ok = py:stop_pool(edited).

%%% Processes and threads of user code

processes_and_threads_do_their_work(_Config) ->
    [
        ?assertEqual([1, 4, 9, 16], py:func(py_faults, processes, [Method], #{timeout => 20_000}), Method)
     || Method <- [<<"fork">>, <<"spawn">>]
    ],
    [
        ?assertEqual([1, 4, 9], py:func(py_faults, executors, [Kind], #{timeout => 20_000}), Kind)
     || Kind <- [<<"threads">>, <<"processes">>]
    ],
    ?assertEqual([1, 4, 9], call(threads)),
    ?assertEqual([1, 2, 3], call(programs)).

a_forked_child_never_touches_the_port(Config) ->
    Noted = path(Config),
    Others = [py_caller:start(fun() -> call(sleep_and_return, [0.005, N]) end) || N <- lists:seq(1, 50)],
    {Status, Leader} = py_output:of_call(fun() -> call(fork_in_the_middle, [Noted]) end),
    ?assertEqual(-15, Status),
    py_output:stop(Leader),
    ?assertEqual(["no cast"], lines(Noted)),
    ?assertEqual(["parent"], lists:usort([call(return_in_a_child) || _ <- lists:seq(1, 5)])),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 50)], py_caller:results(Others)).

%% Whatever ends the worker ends what it has started.
children(Config, End) ->
    {ok, _} = py:start_pool(family, pool(Config, #{kill_after => 200})),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(family),
    Begun = path(Config),
    Caller = py_caller:start(fun() ->
        py:func(py_faults, leave_children, [Begun, 60], #{worker => Worker, timeout => 20_000})
    end),
    wait_for(Begun),
    Family = [OsPid | [Child || {Child, _} <- py_os_process:descendants(OsPid)]],
    ?assert(length(Family) >= 4, Family),
    End(Worker, OsPid),
    py_eventually:equals([], fun() -> [Member || Member <- Family, py_os_process:alive(Member)] end),
    ?assertMatch({error, {py, {worker_down, _}}}, py_caller:result(Caller)).

a_killed_worker_leaves_no_orphan(Config) ->
    children(Config, fun(Worker, OsPid) ->
        py_os_process:kill(OsPid),
        wait_replaced(Worker, OsPid)
    end),
    ok = py:stop_pool(family).

a_stopped_pool_leaves_no_orphan(Config) ->
    children(Config, fun(_, _) -> ok = py:stop_pool(family, 0) end).

a_call_that_ends_leaves_its_children_to_the_worker(Config) ->
    {ok, _} = py:start_pool(family, pool(Config, #{})),
    Children = py:func(py_faults, leave_children, [path(Config), 0], #{pool => family}),
    ?assertEqual([true, true, true], [py_os_process:alive(Child) || Child <- Children]),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => family})),
    ok = py:stop_pool(family),
    py_eventually:equals([], fun() -> [Child || Child <- Children, py_os_process:alive(Child)] end).

%%% Schedulers

schedulers_choose_by_place_and_age(Config) ->
    Three = fun(Scheduler) ->
        {ok, _} = py:start_pool(chosen, pool(Config, #{size => 3, scheduler => Scheduler})),
        [#{worker := First, os_pid := FirstPid}, #{worker := Second}, _] = py:workers(chosen),
        %% The second began last, the first before it.
        [replace(Worker) || Worker <- [First, Second]],
        ?assertNotEqual(FirstPid, os_pid(First)),
        Served = lists:usort([py:func(os, getpid, #{pool => chosen}) || _ <- lists:seq(1, 20)]),
        Workers = [OsPid || #{os_pid := OsPid} <- py:workers(chosen)],
        ok = py:stop_pool(chosen),
        {Served, Workers}
    end,
    {[First], [First, _, _]} = Three(first),
    {[Youngest], [_, Youngest, _]} = Three(youngest),
    {[Oldest], [_, _, Oldest]} = Three(oldest),
    {[Last], [_, _, Last]} = Three({?MODULE, last}).

replace(Worker) ->
    OsPid = os_pid(Worker),
    ok = py:restart_worker(Worker),
    ?assertNotEqual(OsPid, os_pid(Worker)).

%% Schedulers of a user's.
last(_Pool, Candidates) -> map_get(worker, lists:last(Candidates)).

junk(_Pool, _Candidates) -> junk.

crash(_Pool, _Candidates) -> error(crash).

a_scheduler_that_fails_fails_its_call_only(Config) ->
    [
        begin
            {ok, _} = py:start_pool(chosen, pool(Config, #{scheduler => Scheduler})),
            ?assertError({py, {scheduler, Expected}}, py:func(os, getpid, #{pool => chosen})),
            [#{worker := Worker, os_pid := OsPid}] = py:workers(chosen),
            ?assertEqual(OsPid, py:func(os, getpid, [], #{worker => Worker})),
            ok = py:stop_pool(chosen)
        end
     || {Scheduler, Expected} <- [
            {{?MODULE, junk}, junk},
            {{?MODULE, crash}, {error, crash}},
            {{?MODULE, no_such_function}, {error, undef}}
        ]
    ].

no_scheduler_chooses_a_worker_that_does_not_serve(Config) ->
    Slow = #{max => 0, within => 60_000, delay => 30_000, max_delay => 60_000},
    [
        begin
            {ok, _} = py:start_pool(chosen, pool(Config, #{size => 3, scheduler => Scheduler, restart => Slow})),
            [#{worker := Dead, os_pid := DeadPid}, #{worker := Draining}, #{os_pid := OsPid}] = py:workers(chosen),
            py_os_process:kill(DeadPid),
            py_eventually:holds(fun() -> map_get(state, info(Dead)) =:= degraded end),
            Open = slow(Config, Draining),
            Remove = py_caller:start(fun() -> py:remove_worker(Draining) end),
            py_eventually:equals(error, fun() -> py_registry:place(Draining) end),
            ?assertEqual(
                [OsPid], lists:usort([py:func(os, getpid, #{pool => chosen}) || _ <- lists:seq(1, 30)]), Scheduler
            ),
            py_caller:kill(Open),
            ?assertEqual({ok, ok}, py_caller:result(Remove)),
            ok = py:stop_pool(chosen)
        end
     || Scheduler <- [first, youngest, oldest, least_busy, round_robin, random, {?MODULE, last}]
    ].

with_worker_keeps_to_one_worker(Config) ->
    {ok, _} = py:start_pool(four, pool(Config, #{size => 4, scheduler => round_robin})),
    Pids = fun() -> lists:usort([py:func(os, getpid, #{pool => four}) || _ <- lists:seq(1, 20)]) end,
    ?assertEqual(4, length(Pids())),
    Results = py_caller:results([
        py_caller:start(fun() -> py:with_worker(four, fun() -> Pids() end) end)
     || _ <- lists:seq(1, 4)
    ]),
    [?assertMatch({ok, [_]}, Result) || Result <- Results],
    ?assertEqual(4, length(Pids())),
    ?assertError(oops, py:with_worker(four, fun() -> error(oops) end)),
    ?assertEqual(4, length(Pids())),
    ok = py:stop_pool(four).

%%% A BEAM that is killed

no_python_outlives_a_killed_beam_whatever_it_does(Config) ->
    [
        begin
            Begun = path(Config),
            {Port, Beam} = beam(Config, ["py:func(py_faults, ", Function, ", [<<\"", Begun, "\">>", Rest, "])"]),
            wait_for(Begun),
            Family = [OsPid || {OsPid, _} <- py_os_process:descendants(Beam)],
            ?assert(length(Family) >= 2, Family),
            py_os_process:kill(Beam),
            receive {Port, {exit_status, _}} -> ok after 5_000 -> ct:fail(beam_lives) end,
            ?assertEqual(ok, py_eventually:holds(fun() -> [] =:= alive(Family) end, 1_000), Function)
        end
     || {Function, Rest} <- [
            {"note_and_sleep", ", 60"},
            {"go_on_forever", ""},
            {"never_return", ""},
            {"keep_the_interpreter", ""},
            {"leave_children", ", 60"}
        ]
    ].

%% A halt waits until the ports have written what they were given.
a_beam_halts_also_where_a_python_reads_nothing(Config) ->
    Begun = path(Config),
    {Port, Beam} = beam(Config, [
        "[spawn(fun() -> py:func(py_faults, never_return, [<<\"", Begun, "\">>]) end) || _ <- [1, 2]], ",
        "Wait = fun W() -> filelib:is_file(\"", Begun, "\") orelse (timer:sleep(20) =:= ok andalso W()) end, Wait(), ",
        "Large = binary:copy(<<0>>, 8000000), ",
        "[spawn(fun() -> py:func(operator, add, [{bytes, Large}, {bytes, <<>>}]) end) || _ <- [1, 2]], ",
        %% Until the ports have got them.
        "timer:sleep(200), halt()"
    ]),
    wait_for(Begun),
    Family = [OsPid || {OsPid, _} <- py_os_process:descendants(Beam)],
    receive
        {Port, {exit_status, Status}} -> ?assertEqual(0, Status)
    after 20_000 ->
        lists:foreach(fun py_os_process:kill/1, [Beam | Family]),
        ct:fail(beam_lives)
    end,
    ?assertEqual(ok, py_eventually:holds(fun() -> [] =:= alive(Family) end, 1_000)).

alive(Family) -> [Member || Member <- Family, py_os_process:alive(Member)].

%% A BEAM of its own with two workers, which evaluates this.
beam(Config, Expression) ->
    Port = open_port({spawn_executable, os:find_executable("erl")}, [{args, arguments(Config, Expression)}, exit_status, hide]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    {Port, OsPid}.

arguments(Config, Expression) ->
    Pools = [{default, pool(Config, #{size => 2})}],
    Start = io_lib:format(
        "application:load(py), application:set_env(py, pools, ~0tp), {ok, started} = py:start(), ~ts.",
        [Pools, Expression]
    ),
    ["-noinput", "-pa", filename:dirname(filename:absname(code:where_is_file("py.app"))), "-eval", lists:flatten(Start)].

%% What it prints until it has evaluated this.
beam_says(Config, Expression) ->
    Args = [["'", string:replace(Arg, "'", "'\\''", all), "' "] || Arg <- arguments(Config, [Expression, ", init:stop()"])],
    string:trim(os:cmd(lists:flatten(["erl ", Args]))).

%%% Workers and files

call(Function) -> call(Function, []).

call(Function, Args) -> py:func(py_faults, Function, Args).

pool(Config, Options) ->
    maps:merge(#{size => 1, python_path => [filename:absname(?config(data_dir, Config))]}, Options).

os_pids() -> [OsPid || #{os_pid := OsPid} <- py:workers()].

os_pids(Pool) -> [OsPid || #{os_pid := OsPid} <- py:workers(Pool)].

info(Worker) -> hd([Info || #{worker := W} = Info <- py:workers(), W =:= Worker]).

os_pid(Worker) -> map_get(os_pid, info(Worker)).

wait_replaced(Worker, OsPid) ->
    py_eventually:holds(fun() ->
        #{state := State, os_pid := Now} = info(Worker),
        State =:= serving andalso Now =/= OsPid
    end).

signal(Name, OsPid) ->
    _ = os:cmd(lists:concat(["kill -s ", Name, " ", OsPid])),
    ok.

%% The path of a file that is not there yet.
path(Config) ->
    Name = "file_" ++ integer_to_list(erlang:unique_integer([positive])),
    unicode:characters_to_binary(filename:absname(filename:join(?config(priv_dir, Config), Name))).

wait_for(File) -> py_eventually:holds(fun() -> filelib:file_size(File) > 0 end).

%% What was noted in a file.
lines(File) ->
    case file:read_file(File) of
        {ok, Text} -> string:lexemes(unicode:characters_to_list(Text), "\n");
        {error, enoent} -> []
    end.

contains(Part, Text) -> ?assertNotEqual(nomatch, string:find(Text, Part), unicode:characters_to_list(Text)).
