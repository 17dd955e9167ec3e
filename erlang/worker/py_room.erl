%%% @doc Room for the garbage of a worker process that has many calls in hand: its heap is large meanwhile.
%%%
%%% What a call is stands in the heap from the message to the answer. In a heap of the usual size garbage is collected every few calls, and each
%%% time nearly all of them are there still and are copied; in a large one most are over.
%%% @private
-module(py_room).

-export([sent/1, watched/1]).

-include("py_worker.hrl").

%% So many calls with Python at once are worth it. Those that wait in this process stay for long, and a copy of each is little beside that.
-define(MANY, 8).
-define(WORDS, 200_000).

%% @doc It has taken calls.
-spec sent(#state{}) -> #state{}.
sent(#state{usual_heap = undefined, calls = Calls} = State) ->
    case py_calls:open_calls(Calls) >= ?MANY of
        true -> State#state{usual_heap = process_flag(min_heap_size, ?WORDS)};
        false -> State
    end;
sent(State) ->
    State.

%% @doc It had calls, and 50 ms have passed.
-spec watched(#state{}) -> #state{}.
watched(#state{usual_heap = undefined} = State) ->
    State;
watched(#state{usual_heap = Words, calls = Calls} = State) ->
    case py_calls:load(Calls) of
        0 ->
            _ = process_flag(min_heap_size, Words),
            garbage_collect(),
            State#state{usual_heap = undefined};
        _ ->
            State
    end.
