%%% What bench/page/run asks of the node.
-module(py_bench_page).

-export([flood/1, ended/1, number/0, early/1, python/0, memory/0, look/1]).

%% Callers of tiny calls.
flood(Count) -> [spawn(fun calls/0) || _ <- lists:seq(1, Count)].

calls() ->
    _ = py:func(math, sqrt, [2]),
    calls().

ended(Pids) -> lists:foreach(fun(Pid) -> exit(Pid, kill) end, Pids).

server() ->
    {ok, Server} = py_dashboard_sup:server(),
    Server.

%% How many views were sent.
number() -> element(14, sys:get_state(server())).

%% The pauses between looks are over, until so many were sent.
early(Until) ->
    case number() of
        Now when Now >= Until -> Now;
        _ ->
            server() ! {timeout, none, look},
            erlang:yield(),
            early(Until)
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
