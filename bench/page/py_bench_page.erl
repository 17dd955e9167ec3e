%%% What bench/page/run asks of the node.
-module(py_bench_page).

-export([flood/2, ended/1, number/0, early/2, python/0, memory/0, look/1]).

%% Callers of tiny calls, each with a pause of so many milliseconds after each call.
flood(Count, Pause) -> [spawn(fun() -> calls(Pause) end) || _ <- lists:seq(1, Count)].

calls(Pause) ->
    _ = py:func(math, sqrt, [2]),
    receive after Pause -> calls(Pause) end.

ended(Pids) -> lists:foreach(fun(Pid) -> exit(Pid, kill) end, Pids).

server() ->
    {ok, Server} = py_dashboard_sup:server(),
    Server.

%% How many views were sent.
number() ->
    %% Its state is large: that is not copied for one number.
    Self = self(),
    Ref = make_ref(),
    sys:replace_state(server(), fun(State) -> Self ! {Ref, element(14, State)}, State end),
    receive {Ref, Number} -> Number end.

%% The pauses between looks are over, until so many were sent, or for so long at the most: an hour's looks in minutes.
early(Until, Ms) -> early(number(), Until, erlang:monotonic_time(millisecond) + Ms).

early(Now, Until, End) ->
    case Now >= Until orelse erlang:monotonic_time(millisecond) >= End of
        true -> Now;
        false ->
            server() ! {timeout, none, look},
            %% It has looked when it answers: one look at a time, and no queue of them.
            early(number(), Until, End)
    end.

%% The number of the page's Python.
python() -> element(2, element(5, sys:get_state(server()))).

%% Of the page's two processes, in bytes.
memory() ->
    Pids = [server(), element(3, sys:get_state(server()))],
    lists:sum([begin erlang:garbage_collect(Pid), {memory, Bytes} = process_info(Pid, memory), Bytes end || Pid <- Pids]).

%% Milliseconds of some looks.
look(Count) -> look(Count, py_page_rows:new()).

look(0, _History) -> [];
look(Count, History) ->
    {Us, {_, Next}} = timer:tc(fun() -> py_page_rows:take(History) end),
    [Us / 1_000 | look(Count - 1, Next)].
