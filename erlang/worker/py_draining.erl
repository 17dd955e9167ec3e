%%% @doc When a worker takes no more calls: it is given a new interpreter as soon as the open ones have ended (`recycling'), or is
%%% taken away then (`draining'). Neither waits longer than its time.
%%% @private
-module(py_draining).

-export([recycle_used/1, look_at_memory/1, recycle_large/1, recycle_serving/1, abandon/1, emptied/1, ask_to_leave/1, drain/3, drained/2]).

-include("py_worker.hrl").

%% @doc One that has been sent as many calls as it may get is replaced, unless its pool is to keep what it holds, or it says itself that
%% it holds something.
-spec recycle_used(#state{}) -> #state{}.
recycle_used(#state{config = #{max_calls := infinity}} = State) ->
    State;
recycle_used(#state{config = #{recycle := never}} = State) ->
    State;
recycle_used(#state{holds = true} = State) ->
    State;
recycle_used(#state{config = #{max_calls := Most}, calls = Calls, own_calls = Own} = State) ->
    case py_calls:sent(Calls) - Own >= Most of
        true -> recycle_serving(State);
        false -> State
    end.

%% @doc One that holds three quarters of what it may have is replaced before it gets no more; not a session's, which would lose what
%% it is there for, nor one of a pool that is to keep what it holds, nor one that says that it holds something. A call that runs may need that much for itself, and give it back: so it is judged at its end.
-spec look_at_memory(#state{}) -> #state{}.
look_at_memory(#state{phase = serving, holds = false, config = #{scheduler := Scheduler, max_memory := Most, recycle := auto}} = State) when
    is_integer(Most), Scheduler =/= none
->
    case {holds_most(State), py_calls:open_calls(State#state.calls)} of
        {true, 0} -> recycle_serving(State);
        {true, _} when State#state.large_since =:= never -> State#state{large_since = erlang:monotonic_time(millisecond)};
        {true, _} -> State;
        {false, _} -> State#state{large_since = never}
    end;
look_at_memory(State) ->
    State.

%% @doc A call has ended. Where coroutines go on, one of them may hold it: as long as that is not for long.
-spec recycle_large(#state{}) -> #state{}.
recycle_large(#state{large_since = Since, phase = serving, calls = Calls, config = #{drain_timeout := Patience}} = State) when
    is_integer(Since)
->
    Now = erlang:monotonic_time(millisecond),
    case py_calls:coroutines(Calls) of
        0 -> recycle_if_large(State);
        _ when Now - Since > Patience -> recycle_if_large(State);
        _ -> State
    end;
recycle_large(State) ->
    State.

recycle_if_large(State) ->
    case holds_most(State) of
        true -> recycle_serving(State);
        false -> State#state{large_since = never}
    end.

holds_most(#state{config = #{max_memory := Most}} = State) ->
    case py_worker_state:own_bytes(State) of
        Bytes when is_integer(Bytes) -> Bytes > Most * 3 div 4;
        undefined -> false
    end.

%% @doc Take no more calls, and a new interpreter when the open ones have ended.
-spec recycle_serving(#state{}) -> #state{}.
recycle_serving(#state{phase = serving, config = #{drain_timeout := Timeout}, calls = Calls} = State) ->
    py_worker_state:event([worker, recycle], #{}, State),
    Recycling = State#state{phase = recycling, calls = py_calls:hold(Calls)},
    emptied(py_worker_state:report(drain_timer(recycle, Timeout, Recycling)));
recycle_serving(State) ->
    State.

%% @doc See whether the last open call has ended.
-spec emptied(#state{}) -> #state{}.
emptied(#state{phase = recycling, is_leaving = true} = State) ->
    State;
emptied(#state{phase = Phase, calls = Calls} = State) when Phase =:= recycling; Phase =:= draining ->
    case {py_calls:open_calls(Calls), Phase} of
        {0, recycling} -> py_worker_state:set_timer(recycle, ?LEAVE_MS, (ask_to_leave(State))#state{is_leaving = true});
        {0, draining} -> drained(ok, State);
        _ -> case py_calls:is_left_alone(Calls) of true -> left_alone(State); false -> State end
    end;
emptied(State) ->
    State.

%% What is left does not end by itself, and nobody wants it.
left_alone(#state{phase = recycling} = State) -> py_worker_state:doom({deadline, killed}, State);
left_alone(#state{phase = draining} = State) -> drained(ok, State).

%% @doc A call in a thread has had its time and goes on. The others have theirs: the worker takes no more, however long they take, and
%% another one is started in its place. If that can't be, it has a new interpreter itself when they have ended.
-spec abandon(#state{}) -> #state{}.
abandon(#state{phase = serving, calls = Calls, pool = Pool, slot = Slot} = State) ->
    py_worker_state:event([worker, abandon], #{}, State),
    logger:warning(
        "worker ~w of pool ~tp: a call in a thread goes on after its deadline, and can't be interrupted; this Python takes no more calls",
        [Slot, Pool],
        py_worker_state:metadata(State)
    ),
    Abandoned = py_worker_state:report(State#state{phase = recycling, calls = py_calls:take_back(all, py_calls:hold(Calls))}),
    case py_calls:is_left_alone(Calls) of
        true -> emptied(Abandoned);
        false -> ask_for_another(Pool), Abandoned
    end;
abandon(State) ->
    emptied(State).

ask_for_another(Pool) ->
    case py_registry:pool_process(Pool) of
        {ok, Process} -> gen_server:cast(Process, {replace, self()});
        error -> ok
    end.

-spec ask_to_leave(#state{}) -> #state{}.
ask_to_leave(State) -> py_worker_state:internal(leave, py_wire:body('erl.calls.worker', leave, []), State).

%% @doc Take no call any more: the worker is taken away.
-spec drain(gen_server:from(), timeout(), #state{}) -> #state{}.
drain(From, Timeout, #state{phase = Phase, calls = Calls, load = Load, slot = Slot, starters = Starters} = State) ->
    py_registry:delete_slot(Load, Slot),
    py_registry:delete_worker(self()),
    [gen_server:reply(Starter, {error, stopped}) || Starter <- Starters],
    Draining = State#state{
        drainer = From, phase = draining, calls = py_calls:give_back_waiting(py_calls:hold(Calls)), starters = []
    },
    case Phase of
        _ when Phase =:= serving; Phase =:= recycling -> emptied(drain_timer(drain, Timeout, Draining));
        _ -> drained(ok, py_worker_state:stop_timer(Draining))
    end.

drain_timer(_Event, infinity, State) -> py_worker_state:stop_timer(State);
drain_timer(Event, Timeout, State) -> py_worker_state:set_timer(Event, Timeout, State).

%% @doc Tell whoever takes it away that it can be.
-spec drained(ok | timeout, #state{}) -> #state{}.
drained(_Result, #state{drainer = undefined} = State) ->
    State;
drained(Result, #state{drainer = Drainer} = State) ->
    gen_server:reply(Drainer, Result),
    py_worker_state:stop_timer(State#state{drainer = undefined}).
