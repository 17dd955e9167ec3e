%%% What Python says unasked, and readers that are slow, stuck, dead, or callers: nothing piles up, nobody waits for ever, and what
%%% was not shown is said.
-module(py_outlet_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    texts_come_in_order_and_before_the_answer/1,
    texts_of_a_call_that_has_waited_are_its_own/1,
    a_slow_reader_gets_all/1,
    texts_for_a_slow_reader_do_not_pile_up/1,
    a_stuck_reader_is_told_what_it_was_not_shown/1,
    a_stuck_reader_holds_up_nobody/1,
    a_dead_reader_is_not_waited_for/1,
    a_reader_that_dies_is_not_waited_for/1,
    a_reader_that_calls_is_not_waited_for/1,
    a_reader_that_calls_by_another_is_waited_for_once/1,
    a_stuck_logger_is_not_waited_for/1,
    casts_for_a_slow_process_do_not_pile_up/1,
    large_casts_for_a_slow_process_do_not_pile_up/1,
    casts_to_nobody_are_not_waited_for/1,
    standard_error_that_is_stuck_is_not_filled/1,
    an_outlet_that_is_killed_is_replaced/1,
    nothing_is_left_of_an_outlet/1,
    a_deadline_ends_a_wait_for_a_reader/1
]).
%% A handler of `logger', and its filters.
-export([log/2, from_python/2, not_from_python/2]).
%% Called by Python.
-export([answer_behind_a_call/2]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        texts_come_in_order_and_before_the_answer,
        texts_of_a_call_that_has_waited_are_its_own,
        a_slow_reader_gets_all,
        texts_for_a_slow_reader_do_not_pile_up,
        a_stuck_reader_is_told_what_it_was_not_shown,
        a_stuck_reader_holds_up_nobody,
        a_dead_reader_is_not_waited_for,
        a_reader_that_dies_is_not_waited_for,
        a_reader_that_calls_is_not_waited_for,
        a_reader_that_calls_by_another_is_waited_for_once,
        a_stuck_logger_is_not_waited_for,
        casts_for_a_slow_process_do_not_pile_up,
        large_casts_for_a_slow_process_do_not_pile_up,
        casts_to_nobody_are_not_waited_for,
        standard_error_that_is_stuck_is_not_filled,
        an_outlet_that_is_killed_is_replaced,
        nothing_is_left_of_an_outlet,
        a_deadline_ends_a_wait_for_a_reader
    ].

init_per_testcase(Case, Config) ->
    Options = #{size => 1, print_timeout => print_timeout(Case), python_path => [?config(data_dir, Config)]},
    ok = py_application:start([{default, Options}]),
    0 = py:func(py_talking, say, [0, 0]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

%% Who reads slowly is not to be taken for stuck on a machine that is busy.
print_timeout(Case) ->
    Slow = [
        texts_come_in_order_and_before_the_answer, texts_of_a_call_that_has_waited_are_its_own, a_slow_reader_gets_all,
        texts_for_a_slow_reader_do_not_pile_up, standard_error_that_is_stuck_is_not_filled, an_outlet_that_is_killed_is_replaced
    ],
    case lists:member(Case, Slow) of
        true -> 20_000;
        false -> 500
    end.

call(Function, Args) -> call(Function, Args, #{}).

call(Function, Args, Options) -> py:func(py_talking, Function, Args, Options).

%% A call in a process of its own with this group leader.
caller(Leader, Fun) ->
    py_caller:start(fun() ->
        group_leader(Leader, self()),
        Fun()
    end).

%% A group leader that takes a text when it is let, or each after a pause. It counts bytes and keeps none but the last ones.
reader(Pause) ->
    spawn_link(fun() -> read(Pause, 0, []) end).

read(held, Bytes, Last) ->
    receive
        {go, Pause} -> read(Pause, Bytes, Last);
        {said, From} -> say(From, Bytes, Last), read(held, Bytes, Last)
    end;
read(Pause, Bytes, Last) ->
    receive
        {io_request, From, Reference, {put_chars, unicode, Text}} ->
            %% As a terminal takes its time.
            receive after Pause -> ok end,
            From ! {io_reply, Reference, ok},
            read(Pause, Bytes + byte_size(Text), lists:sublist([Text | Last], 5));
        {said, From} ->
            say(From, Bytes, Last),
            read(Pause, Bytes, Last);
        hold ->
            read(held, Bytes, Last)
    end.

say(From, Bytes, Last) -> From ! {self(), Bytes, unicode:characters_to_list(lists:reverse(Last))}.

said(Reader) ->
    Reader ! {said, self()},
    receive {Reader, Bytes, Last} -> {Bytes, Last} end.

queue(Pid) ->
    {message_queue_len, Length} = process_info(Pid, message_queue_len),
    Length.

finish(Reader) ->
    unlink(Reader),
    exit(Reader, kill).

elapsed(Fun) ->
    Began = erlang:monotonic_time(millisecond),
    Result = Fun(),
    {Result, erlang:monotonic_time(millisecond) - Began}.

%%% Readers

texts_come_in_order_and_before_the_answer(_Config) ->
    {5_000, Leader} = py_output:of_call(fun() -> call(number, [5_000]) end),
    ?assertEqual(lists:append([integer_to_list(N) ++ "\n" || N <- lists:seq(0, 4_999)]), py_output:text(Leader)),
    py_output:stop(Leader).

%% One that was sent before the answer to what it waits for stands in the pipe.
texts_of_a_call_that_has_waited_are_its_own(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    [First, Second] = [py_output:start(), py_output:start()],
    Test = self(),
    Sender = spawn_link(fun() ->
        Asked = receive {sent, From} -> From end,
        Other = caller(Second, fun() -> call(say, [2, 2]) end),
        py_eventually:holds(fun() -> [#{in_flight := Open}] = py:workers(), Open =:= 2 end),
        Asked ! {self(), sent},
        %% The answer is written meanwhile.
        receive after 300 -> ok end,
        os:cmd("kill -s CONT " ++ integer_to_list(OsPid)),
        Test ! {other, py_caller:result(Other)}
    end),
    ?assertEqual({ok, 3}, py_caller:result(caller(First, fun() -> call(ask_and_say, [Sender, OsPid, 3]) end))),
    ?assertEqual({ok, 2}, receive {other, Result} -> Result end),
    ?assertEqual("1\n2\n3\n", py_output:text(First)),
    ?assertEqual("xx\nxx\n", py_output:text(Second)),
    [py_output:stop(Leader) || Leader <- [First, Second]].

%% The Python that has asked stands still: it finds the other call and the answer at once.
answer_behind_a_call(Sender, OsPid) ->
    os:cmd("kill -s STOP " ++ integer_to_list(OsPid)),
    Sender ! {sent, self()},
    receive {Sender, sent} -> done end.

a_slow_reader_gets_all(_Config) ->
    Reader = reader(1),
    ?assertEqual({ok, 1_000}, py_caller:result(caller(Reader, fun() -> call(say, [1_000, 999]) end))),
    py_eventually:holds(fun() -> element(1, said(Reader)) =:= 1_000_000 end, 120_000),
    finish(Reader).

%% 20 MB for a reader that takes them at its leisure.
texts_for_a_slow_reader_do_not_pile_up(_Config) ->
    Reader = reader(0),
    Slow = spawn_link(fun() -> hold_now_and_then(Reader) end),
    {Result, Growth} = py_beam:growth(fun() -> py_caller:result(caller(Reader, fun() -> call(say, [200_000, 99]) end)) end),
    ?assertEqual({ok, 200_000}, Result),
    ?assert(Growth < 64_000_000, Growth),
    unlink(Slow),
    exit(Slow, kill),
    Reader ! {go, 0},
    py_eventually:holds(fun() -> element(1, said(Reader)) =:= 20_000_000 end, 120_000),
    finish(Reader).

hold_now_and_then(Reader) ->
    Reader ! hold,
    receive after 20 -> ok end,
    Reader ! {go, 0},
    receive after 20 -> hold_now_and_then(Reader) end.

a_stuck_reader_is_told_what_it_was_not_shown(_Config) ->
    Reader = reader(held),
    %% More than the credit: it waits once, for print_timeout.
    ?assertEqual({ok, 20_000}, py_caller:result(caller(Reader, fun() -> call(say, [20_000, 99]) end))),
    Reader ! {go, 0},
    py_eventually:holds(fun() -> {_, Last} = said(Reader), string:find(Last, "not shown") =/= nomatch end),
    {Bytes, Last} = said(Reader),
    {match, [Unshown]} = re:run(Last, "py: ([0-9]+) bytes of what Python printed are not shown", [{capture, all_but_first, list}]),
    [Line] = [Line || Line <- string:split(Last, "\n", all), string:find(Line, "not shown") =/= nomatch],
    ?assertEqual(2_000_000, Bytes - length(Line) - 1 + list_to_integer(Unshown)),
    %% From now on it is shown all.
    ?assertEqual({ok, 10}, py_caller:result(caller(Reader, fun() -> call(say, [10, 99]) end))),
    py_eventually:holds(fun() -> element(1, said(Reader)) =:= Bytes + 1_000 end),
    finish(Reader).

a_stuck_reader_holds_up_nobody(_Config) ->
    Reader = reader(held),
    Stuck = caller(Reader, fun() -> call(say, [100_000, 99]) end),
    Leader = py_output:start(),
    ?assertEqual({ok, 3}, py_caller:result(caller(Leader, fun() -> py:add(1, 2) end))),
    ?assertEqual({ok, 100_000}, py_caller:result(Stuck)),
    ?assertEqual({ok, 2}, py_caller:result(caller(Leader, fun() -> call(say, [2, 2]) end))),
    ?assertEqual("xx\nxx\n", py_output:text(Leader)),
    py_output:stop(Leader),
    finish(Reader).

a_dead_reader_is_not_waited_for(_Config) ->
    Reader = reader(0),
    finish(Reader),
    {Result, Ms} = elapsed(fun() -> py_caller:result(caller(Reader, fun() -> call(say, [100_000, 99]) end)) end),
    ?assertEqual({ok, 100_000}, Result),
    ?assert(Ms < 15_000, Ms).

a_reader_that_dies_is_not_waited_for(_Config) ->
    Reader = reader(held),
    Caller = caller(Reader, fun() -> call(say, [100_000, 99]) end),
    py_eventually:holds(fun() -> queue(Reader) > 0 end),
    finish(Reader),
    ?assertEqual({ok, 100_000}, py_caller:result(Caller)).

%% A group leader that calls reads nothing meanwhile.
a_reader_that_calls_is_not_waited_for(_Config) ->
    Test = self(),
    Reader = spawn_link(fun() ->
        group_leader(self(), self()),
        Test ! {self(), call(say, [50_000, 99])},
        read(0, 0, [])
    end),
    receive {Reader, Answer} -> ?assertEqual(50_000, Answer) end,
    py_eventually:holds(fun() -> {_, Last} = said(Reader), string:find(Last, "not shown") =/= nomatch end),
    {Bytes, _} = said(Reader),
    %% The first MiB, and a line.
    ?assert(Bytes > 800_000 andalso Bytes < 1_200_000, Bytes),
    finish(Reader).

a_reader_that_calls_by_another_is_waited_for_once(_Config) ->
    Test = self(),
    Reader = spawn_link(fun() ->
        Test ! {self(), py_caller:result(caller(self(), fun() -> call(say, [50_000, 99]) end))},
        read(0, 0, [])
    end),
    receive {Reader, Answer} -> ?assertEqual({ok, 50_000}, Answer) end,
    py_eventually:holds(fun() -> {_, Last} = said(Reader), string:find(Last, "not shown") =/= nomatch end),
    finish(Reader).

%%% Logs

%% A handler of `logger' that stands still until its gate opens.
log(_Event, #{config := #{gate := Gate}}) ->
    Gate ! {pass, self()},
    receive {Gate, passed} -> ok end.

a_stuck_logger_is_not_waited_for(_Config) ->
    Gate = spawn_link(fun() -> gate(closed, 0) end),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{gate => Gate}, filters => [{python, {fun from_python/2, none}}], filter_default => stop}),
    ok = logger:add_handler_filter(default, ?MODULE, {fun not_from_python/2, none}),
    try
        ?assertEqual(20_000, call(log, [20_000])),
        Gate ! open,
        Said = fun() -> Gate ! {count, self()}, receive {Gate, Count} -> Count end end,
        %% Those that were under way, and one that says how many were not.
        py_eventually:holds(fun() -> Said() > 1 end),
        py_eventually:holds(fun() -> call(log, [1]) =:= 1 andalso Said() < 20_000 end)
    after
        logger:remove_handler_filter(default, ?MODULE),
        logger:remove_handler(?MODULE),
        unlink(Gate),
        exit(Gate, kill)
    end.

from_python(#{meta := #{domain := [py | _]}} = Event, _) -> Event;
from_python(_, _) -> ignore.

not_from_python(#{meta := #{domain := [py | _]}}, _) -> stop;
not_from_python(_, _) -> ignore.

gate(State, Count) ->
    receive
        {pass, From} when State =:= open -> From ! {self(), passed}, gate(State, Count + 1);
        open -> gate(open, Count);
        {count, From} -> From ! {self(), Count}, gate(State, Count)
    end.

%%% Casts

receiver() -> spawn_link(fun() -> receive go -> receive_all(0) end end).

receive_all(Count) ->
    receive
        {Number, _} when is_integer(Number) -> receive_all(Count + 1);
        {count, From} -> From ! {self(), Count}, receive_all(Count)
    end.

count(Receiver) ->
    Receiver ! {count, self()},
    receive {Receiver, Count} -> Count end.

casts_for_a_slow_process_do_not_pile_up(_Config) ->
    Receiver = receiver(),
    Caller = py_caller:start(fun() -> call(cast, [Receiver, 100_000, 10]) end),
    py_eventually:holds(fun() -> queue(Receiver) > 10_000 end),
    Most = queue(Receiver),
    %% A window for each print_timeout is what it gets now.
    receive after 400 -> ok end,
    ?assert(queue(Receiver) < Most + 20_000, {Most, queue(Receiver)}),
    Receiver ! go,
    ?assertEqual({ok, 100_000}, py_caller:result(Caller)),
    py_eventually:equals(100_000, fun() -> count(Receiver) end),
    finish(Receiver).

large_casts_for_a_slow_process_do_not_pile_up(_Config) ->
    Receiver = receiver(),
    {Caller, Growth} = py_beam:growth(fun() ->
        Caller = py_caller:start(fun() -> call(cast, [Receiver, 200, 1_000_000]) end),
        receive after 1_000 -> Caller end
    end),
    ?assert(Growth < 64_000_000, Growth),
    Receiver ! go,
    ?assertEqual({ok, 200}, py_caller:result(Caller)),
    py_eventually:equals(200, fun() -> count(Receiver) end),
    finish(Receiver).

casts_to_nobody_are_not_waited_for(_Config) ->
    Receiver = receiver(),
    finish(Receiver),
    ?assertEqual(50_000, call(cast, [Receiver, 50_000, 10])),
    ?assertEqual(50_000, call(cast, [nobody_of_this_name, 50_000, 10])).

%%% Standard error

standard_error_that_is_stuck_is_not_filled(_Config) ->
    Device = whereis(standard_error),
    Reader = reader(held),
    unregister(standard_error),
    register(standard_error, Reader),
    try
        Caller = py_caller:start(fun() -> call(complain, [100_000, 99]) end),
        py_eventually:holds(fun() -> queue(Reader) > 0 end),
        receive after 300 -> ok end,
        ?assert(queue(Reader) =< 3, queue(Reader)),
        Reader ! {go, 0},
        ?assertEqual({ok, 100_000}, py_caller:result(Caller)),
        py_eventually:holds(fun() -> element(1, said(Reader)) =:= 10_000_000 end, 120_000)
    after
        unregister(standard_error),
        register(standard_error, Device),
        finish(Reader)
    end.

%%% Its end

outlets() ->
    [
        Pid
     || Pid <- processes(), {dictionary, Dictionary} <- [process_info(Pid, dictionary)],
        {_, {py_outlet, _, _}} <- [lists:keyfind('$initial_call', 1, Dictionary)]
    ].

an_outlet_that_is_killed_is_replaced(_Config) ->
    Reader = reader(held),
    Caller = caller(Reader, fun() -> call(say, [20_000, 99]) end),
    py_eventually:holds(fun() -> queue(Reader) > 1_000 end),
    [exit(Outlet, kill) || Outlet <- outlets()],
    Reader ! {go, 0},
    ?assertEqual({ok, 20_000}, py_caller:result(Caller)),
    ?assertMatch([#{restarts := 0}], py:workers()),
    finish(Reader).

nothing_is_left_of_an_outlet(_Config) ->
    {10, Leader} = py_output:of_call(fun() -> call(say, [10, 10]) end),
    ?assertMatch([_ | _], outlets()),
    Reader = reader(held),
    {ok, 10} = py_caller:result(caller(Reader, fun() -> call(say, [10, 10]) end)),
    [#{worker := Worker}] = py:workers(),
    ok = py:restart_worker(Worker),
    py_eventually:equals([], fun outlets/0),
    py_output:stop(Leader),
    finish(Reader).

a_deadline_ends_a_wait_for_a_reader(_Config) ->
    Reader = reader(held),
    ?assertEqual(
        {error, {py, timeout}}, py_caller:result(caller(Reader, fun() -> call(say, [1_000_000_000, 99], #{timeout => 200}) end))
    ),
    ?assertEqual(3, py:add(1, 2)),
    finish(Reader).
