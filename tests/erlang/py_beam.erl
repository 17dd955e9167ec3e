%%% The memory of the BEAM that runs the tests.
-module(py_beam).

-export([growth/1]).

%% @doc What `Fun' returns, and how many bytes the BEAM had more than before at its highest while it ran.
-spec growth(fun(() -> Result)) -> {Result, integer()}.
growth(Fun) ->
    Before = erlang:memory(total),
    Watcher = spawn_link(fun() -> highest(0) end),
    Result = Fun(),
    Watcher ! {highest, self()},
    receive {Watcher, Highest} -> {Result, Highest - Before} end.

highest(Highest) ->
    receive
        {highest, To} -> To ! {self(), max(Highest, erlang:memory(total))}
    after 5 -> highest(max(Highest, erlang:memory(total)))
    end.
