%%% @doc The interpreters of a worker, one after another: the start of the next, the death of one and what follows from it, and the
%%% last one's end with the worker itself.
%%%
%%% After a death the calls that Python had begun get the error, the others go back to their callers, and the restart budget says when
%%% the next one starts.
%%% @private
-module(py_incarnations).

-export([launch/1, died/2, timer/2, close_left/1, terminate/1]).

-include("py_worker.hrl").

%% How long whoever was told that a worker does not start has time to take it away.
-define(TAKEN_AWAY_MS, 5_000).

%% @doc A predecessor that was killed could not end its interpreter, and one that is stopped does not see its port close.
-spec close_left(#state{}) -> ok.
close_left(#state{ticket = Ticket}) ->
    lists:foreach(fun py_interpreter:close/1, [Left || {ok, Left} <- [py_registry:take_interpreter(Ticket)]]).

%% @doc Start the next one.
-spec launch(#state{}) -> #state{}.
launch(State) ->
    case py_starting:open(State) of
        {ok, Started} -> Started;
        {error, Reason, Failed} -> died({start, Reason}, Failed)
    end.

%% The first call of an interpreter is `configure'.
-define(CONFIGURED, 1).

%% @doc The worker's timer has run out.
-spec timer(Event :: atom(), #state{}) -> #state{}.
timer(launch, State) ->
    launch(State);
timer(drained, #state{calls = Calls} = State) ->
    case py_interpreter:reason(py_calls:interpreter(Calls)) of
        %% It lives on, and can't be talked to.
        closed -> py_worker_state:doom(closed, State);
        Reason -> died(Reason, State)
    end;
timer(gone, #state{calls = Calls} = State) ->
    died(py_interpreter:reason(py_calls:interpreter(Calls)), State);
timer(start_timeout, #state{config = #{start_timeout := Timeout}, calls = Calls} = State) ->
    py_worker_state:doom({start, {no_answer, py_interpreter:python(py_calls:interpreter(Calls)), Timeout}}, State);
timer(recycle, State) ->
    py_worker_state:doom(recycled, State);
timer(drain, State) ->
    py_draining:drained(timeout, State).

%% @doc The interpreter has ended, or could not be started.
-spec died(py_error:down_reason(), #state{}) -> #state{}.
died(Cause, #state{calls = Calls, owners = Owners} = State) ->
    Reason = reason(Cause, State),
    Begun = begun(py_calls:interpreter(Calls), State),
    %% After what it said that its callers own.
    py_shared_owner:ended(),
    py_worker_state:event([worker, down], #{}, State, #{reason => Reason}),
    Down = (py_worker_state:stop_timer(State))#state{
        calls = py_calls:detach(py_calls:fail_sent(Begun, {error, {worker_down, Reason}}, Calls)),
        owners = py_owners:clear(Owners),
        last_down = Reason,
        large_since = never,
        holds = false,
        is_leaving = false
    },
    case State of
        #state{phase = recycling} -> launch(counted(recycle, Down));
        #state{phase = draining} -> py_draining:drained(ok, Down);
        _ -> replace(Reason, counted(restart, Down))
    end.

counted(What, #state{pool = Pool, slot = Slot} = State) ->
    py_figures:count(What, 1, py_registry:figures(Pool, Slot)),
    State.

%% The last that is asked of an interpreter.
begun(undefined, _State) ->
    0;
begun(Interpreter, State) ->
    Begun = py_interpreter:begun(Interpreter),
    close(Interpreter, State),
    Begun.

%% One that ended before it served is asked why, by another start; unless it had come to code of the pool's own.
reason({start, _} = Reason, _State) ->
    Reason;
reason(Ended, #state{phase = starting, config = Config, mounted = Mounts, calls = Calls}) ->
    Interpreter = py_calls:interpreter(Calls),
    Python = py_interpreter:python(Interpreter),
    case py_interpreter:begun(Interpreter) > ?CONFIGURED of
        true ->
            Text = [py_error:text({py, {worker_down, Ended}}), "; it was in a module of the option import, or in on_start"],
            {start, {failed, Python, unicode:characters_to_list(Text)}};
        false ->
            {start, {failed, Python, py_launcher:diagnose(Config#{mounts => Mounts}, Python)}}
    end;
reason({exit_status, 0, _}, #state{phase = recycling}) ->
    recycled;
reason(Reason, _State) ->
    Reason.

replace(Reason, #state{budget = Budget, is_excused = IsExcused, starters = Starters, calls = Calls} = State) ->
    {Next, Delay, Left} =
        case IsExcused of
            true -> py_restart:excused(Budget);
            false -> py_restart:died(erlang:monotonic_time(millisecond), Budget)
        end,
    %% Whoever waits for the first start is told, and tells.
    Starters =/= [] orelse log_death(Reason, Delay, State),
    [gen_server:reply(Starter, {error, Reason}) || Starter <- Starters],
    %% One that has never served, and whose starter was told, is taken away.
    IsNew = Starters =/= [] andalso State#state.codec =:= undefined,
    Pause = if IsNew -> max(Delay, ?TAKEN_AWAY_MS); true -> Delay end,
    Down = State#state{phase = Next, budget = Left, is_excused = false, starters = []},
    Waiting = py_worker_state:set_timer(launch, Pause, Down),
    case Next of
        restarting -> py_worker_state:report(Waiting);
        degraded -> py_worker_state:report(Waiting#state{calls = py_calls:fail_waiting({error, {worker_down, Reason}}, Calls)})
    end.

log_death(Reason, Delay, #state{pool = Pool, slot = Slot} = State) ->
    Text = py_error:text({py, {worker_down, Reason}}),
    Metadata = py_worker_state:metadata(State),
    logger:warning("worker ~w of pool ~tp: ~ts; the next start is in ~w ms", [Slot, Pool, Text, Delay], Metadata).

close(Interpreter, #state{ticket = Ticket}) ->
    py_interpreter:close(Interpreter),
    _ = py_registry:take_interpreter(Ticket),
    ok.

%% @doc The worker ends: each of its calls is answered, and its interpreter ends.
-spec terminate(#state{}) -> ok.
terminate(#state{calls = Calls, phase = Phase} = State) ->
    py_registry:delete_worker(self()),
    [gen_server:reply(Starter, {error, stopped}) || Starter <- State#state.starters],
    Error = {error, {worker_down, stopped}},
    Answered = State#state{calls = py_calls:give_back_waiting(Calls)},
    case py_calls:interpreter(Calls) of
        undefined ->
            ok;
        _ ->
            %% One that is busy has no right to be asked.
            Idle = py_calls:open_calls(Calls) =:= 0 andalso (Phase =:= serving orelse Phase =:= draining),
            #state{calls = Left} = Ended = await_exit(Idle, Answered),
            %% What it has begun is certain only when it begins no more.
            _ = py_calls:fail_sent(begun(py_calls:interpreter(Left), Ended), Error, Left),
            ok
    end.

await_exit(true, State) -> await_end(py_deadline:after_ms(?LEAVE_MS), py_worker_state:flush(py_draining:ask_to_leave(State)));
await_exit(false, State) -> await_end(py_deadline:after_ms(0), State).

%% One that never stops talking has as long as one that says nothing.
await_end(Deadline, #state{calls = Calls} = State) ->
    Interpreter = py_calls:interpreter(Calls),
    case py_deadline:left_ms(Deadline) of
        0 ->
            case py_interpreter:is_doomed(Interpreter) of
                false ->
                    Killed = py_worker_state:updated(py_interpreter:kill(stopped, Interpreter), State),
                    await_end(py_deadline:after_ms(?LEAVE_MS), Killed);
                true ->
                    State
            end;
        Left ->
            receive
                Message -> ended(Message, Deadline, State)
            after Left -> await_end(Deadline, State)
            end
    end.

ended(Message, Deadline, #state{calls = Calls} = State) ->
    case py_interpreter:message(Message, py_calls:interpreter(Calls)) of
        %% Its exit handlers may print and log.
        {frames, Frames, _, Next} -> await_end(Deadline, last_words(Frames, py_worker_state:updated(Next, State)));
        {ended, Next} -> py_worker_state:updated(Next, State);
        {Event, Next} when Event =:= ending; Event =:= none; Event =:= killed ->
            await_end(Deadline, py_worker_state:updated(Next, State));
        _ -> await_end(Deadline, State)
    end.

last_words(<<>>, State) ->
    State;
last_words(Frames, State) ->
    {Route, Frame, Rest} = py_wire:next(Frames),
    last_words(Rest, last_word(Route, Frame, State)).

last_word({answer, Id}, Frame, #state{calls = Calls} = State) ->
    case py_calls:answer(Id, Frame, Calls) of
        {_, Left} -> State#state{calls = Left};
        error -> State
    end;
last_word(request, Frame, State) ->
    py_routing:request(Frame, State).
