%%% @doc Tiny calls fill few workers before they wake many: see "Few workers" in docs/architecture.md.
%%%
%%% A worker whose calls are tiny says in the pool's array how many it may have in hand while others idle. Python says how long they take,
%%% in the page: what the worker process sees of that is mostly how busy the machine is.
%%% @private
-module(py_filling).

-export([watched/1, sent/1, stopped/1]).

-include("py_worker.hrl").

%% @doc It has calls, and 50 ms have passed.
-spec watched(#state{}) -> #state{}.
watched(#state{pool = Pool, paced = Before, calls = Calls, phase = serving} = State) ->
    case py_registry:few(Pool) > 0 andalso py_pipe:paced(Calls) of
        {_, _, _} = Paced -> fill(py_window:tiny(Before, Paced, py_pipe:kept(Calls)), State#state{paced = Paced});
        _ -> stopped(State)
    end;
watched(State) ->
    stopped(State).

fill(0, #state{fill = 0} = State) ->
    State;
fill(Fill, #state{load = Load, slot = Slot, calls = Calls} = State) ->
    py_registry:report_fill(Load, Slot, Fill),
    State#state{fill = Fill, calls = py_pipe:fill(Fill, Calls)}.

%% @doc It was sent calls. One of them may be slow all the same, with others behind it that no idle worker knows of: so it looks soon.
-spec sent(#state{}) -> #state{}.
sent(#state{fill = 0} = State) -> State;
sent(#state{calls = Calls} = State) -> State#state{calls = py_pipe:look_soon(Calls)}.

%% @doc Others may have what comes next.
-spec stopped(#state{}) -> #state{}.
stopped(State) -> fill(0, State).
