%%% @doc How work finds a worker that has none: see "Work that moves" in docs/architecture.md.
%%%
%%% A worker that keeps calls which are free says in the pool's array how many; one that has become idle looks there, and asks.
%%% @private
-module(py_sharing).

-export([look/1, look_again/2, idled/1, watched/1, asked/1]).

-include("py_worker.hrl").

%% At so many looks in a row Python is asked for answers, and from then on at each of so many.
-define(SOON, 20).

%% @doc What the worker has in hand may have changed.
-spec look(#state{}) -> #state{}.
look(#state{kept = Told, calls = Calls, load = Load, slot = Slot, phase = Phase} = State) ->
    case py_pipe:kept(Calls) of
        0 when Told =:= 0, Phase =:= serving ->
            IsIdle = py_calls:load(Calls) =:= 0,
            IsIdle andalso py_registry:is_any_kept(Load) andalso ask(State),
            if IsIdle -> State; true -> State#state{has_asked = false} end;
        Told when Told =:= 0; Phase =:= serving ->
            State;
        Kept ->
            py_registry:report_kept(Load, Slot, Kept),
            Next = py_filling:stopped(State#state{kept = Kept}),
            %% One that has been idle since before does not ask again.
            case Kept > Told orelse Phase =/= serving of
                true -> give(Next);
                false -> Next
            end
    end.

%% This worker has nothing to do.
ask(#state{pool = Pool, load = Load, slot = Slot}) ->
    py_registry:forget_kept(Load),
    case most_slots(Pool) > 1 andalso py_registry:most_kept(Load, Slot, most_slots(Pool)) of
        {ok, Most} ->
            py_registry:hint_kept(Load),
            tell(Pool, Most);
        _ ->
            none
    end.

give(#state{pool = Pool, load = Load, slot = Slot} = State) ->
    case py_registry:shares_work(Pool) andalso py_registry:idle_slot(Load, Slot, most_slots(Pool)) of
        {ok, _} -> asked(State);
        _ -> State
    end.

%% @doc This worker has had nothing to do for a while. What stands in the pipes of others nobody has counted.
-spec idled(#state{}) -> #state{}.
idled(#state{pool = Pool, load = Load, slot = Slot, calls = Calls, phase = serving, has_asked = false} = State) ->
    case py_calls:load(Calls) =:= 0 andalso py_registry:shares_work(Pool) andalso py_registry:most_in_hand(Load, Slot, most_slots(Pool)) of
        {ok, Most} ->
            tell(Pool, Most),
            State#state{has_asked = true};
        none ->
            State#state{has_asked = true};
        false ->
            State
    end;
idled(State) ->
    State.

tell(Pool, Slot) ->
    case py_registry:worker(Pool, Slot) of
        {ok, Worker} -> Worker ! py_idle;
        error -> none
    end.

%% @doc It has calls, and 50 ms have passed.
-spec watched(#state{}) -> #state{}.
watched(#state{calls = Calls} = State) ->
    Rung = rung(State),
    case py_pipe:is_stuck(Calls) of
        true -> give(Rung);
        false -> Rung
    end.

%% The first call may have its answer, which Python holds while it runs one behind it; or it runs, and will have.
rung(#state{first = {Before, Looks}, calls = Calls} = State) ->
    case py_pipe:first(Calls) of
        none ->
            State;
        Before ->
            _ = (Looks < ?SOON orelse Looks rem ?SOON =:= 0) andalso py_pipe:ring(Calls),
            State#state{first = {Before, Looks + 1}};
        First ->
            State#state{first = {First, 0}}
    end.

%% @doc The first call of the pipe may be a slow one by now.
-spec look_again(reference(), #state{}) -> #state{}.
look_again(Timer, #state{calls = Calls} = State) ->
    case py_pipe:looks(Timer, Calls) of
        {true, Next} -> give(State#state{calls = Next});
        {false, _} -> State
    end.

%% @doc Another worker has nothing to do: let go of some calls. Callers that have them back look who has the least to do.
-spec asked(#state{}) -> #state{}.
asked(#state{calls = Calls, load = Load, slot = Slot, phase = Phase, pool = Pool} = State) ->
    case py_registry:shares_work(Pool) andalso py_calls:share(Calls) of
        {Given, Left} ->
            Kept = py_pipe:kept(Left),
            py_registry:report_load(Load, Slot, py_calls:load(Left), Phase =:= serving),
            py_registry:report_kept(Load, Slot, Kept),
            Next = State#state{calls = Left, kept = Kept},
            Told = if Given =:= [] -> Next; true -> py_filling:stopped(Next) end,
            py_calls:moved(Given),
            Told;
        false ->
            State
    end.

most_slots(Pool) ->
    case py_registry:pool(Pool) of
        {ok, #{size := Size}} -> Size;
        {error, _} -> 0
    end.
