%%% @doc What goes through a worker while its interpreter lives: calls on their way to Python, answers on their way to callers, and what
%%% Python asks of Erlang.
%%%
%%% Answers are given out in a row as long as nothing else is to be done with them (see "The reader" in docs/architecture.md).
%%% Requests are read here, those of a sandboxed Python through `py_guard''s door.
%%% @private
-module(py_routing).

-export([accept/2, accept_all/2, frames/3, request/2]).

-include("py_worker.hrl").

%% What a sandboxed Python may have its worker process keep for it.
-define(MOST_UNREAD_BYTES, (256 bsl 20)).
-define(MOST_OPEN_CALLS, 100_000).
-define(MOST_REFERENCES, 100_000).

%% @doc Take a call.
-spec accept(tuple(), #state{}) -> #state{}.
accept(Message, State) ->
    {Call, Body} = call_of(Message, now_us()),
    accept(Call, Body, State).

now_us() -> erlang:monotonic_time(microsecond).

accept(#{from := From}, _Body, #state{phase = degraded, last_down = Reason, pool = Pool, slot = Slot} = State) ->
    py_figures:count(worker_down, 1, py_registry:figures(Pool, Slot)),
    py_calls:reply(From, {error, {worker_down, Reason}}),
    py_worker_state:report(State);
accept(#{from := From}, _Body, #state{phase = draining} = State) ->
    py_calls:reply(From, {error, moved}),
    State;
accept(Call, Body, #state{calls = Calls} = State) ->
    py_worker_state:report(py_draining:recycle_used(py_filling:sent(State#state{calls = py_calls:accept(Call, Body, Calls)}))).

%% @doc Take the calls that these messages are, in order.
-spec accept_all([tuple()], #state{}) -> #state{}.
accept_all(Calls, #state{phase = serving, config = #{max_calls := infinity}} = State) ->
    Now = now_us(),
    Accepted = py_calls:accept_all([call_of(Call, Now) || Call <- Calls], State#state.calls),
    py_worker_state:report(py_room:sent(py_filling:sent(State#state{calls = Accepted})));
accept_all(Calls, State) ->
    lists:foldl(fun accept/2, State, Calls).

call_of({Kind, Alias, Caller, Owner, Leader, Body}, Now) ->
    Call = #{
        from => Alias,
        caller => Caller,
        owner => Owner,
        group_leader => Leader,
        free => Kind =:= py_free_call,
        at => Now,
        head => py_wire:names(Body),
        %% As `py_inflight' will say.
        cancelled => false,
        number => 0
    },
    {Call, Body}.

%% @doc Give out what one read of the port has brought: frames, and how many of them are answers. The load is told first: those who
%% get an answer may call again before the last of them has his, and look then who has the least to do.
-spec frames(Frames :: binary(), Answers :: non_neg_integer(), #state{}) -> #state{}.
frames(Frames, Answers, State) ->
    #state{calls = Before} = State,
    Told = py_worker_state:report(Answers, State#state{calls = py_timing:arrived(Answers, Before)}),
    #state{calls = Calls} = Next = frames(Frames, Told),
    py_worker_state:report(Next#state{calls = py_calls:settle(Calls)}).

frames(Frames, #state{calls = Calls, served = Served} = State) ->
    case py_calls:answer_all(Frames, Calls) of
        {0, Left, _} -> first_frame(Left, State);
        {Count, Left, Fewer} -> first_frame(Left, answered(State#state{calls = Fewer, served = Served + Count}))
    end.

first_frame(<<>>, State) ->
    State;
first_frame(Frames, #state{calls = Calls} = State) ->
    {Route, Frame, Rest} = py_wire:next(Frames),
    %% Not the last frames of one that was killed.
    case py_interpreter:is_doomed(py_calls:interpreter(Calls)) of
        true -> State;
        false -> frames(Rest, routed(Route, Frame, State))
    end.

routed({answer, Id}, Frame, State) -> answer(Id, Frame, State);
routed(request, Frame, State) -> request(Frame, State).

answer(Id, Frame, #state{calls = Calls, served = Served} = State) ->
    case py_calls:answer(Id, Frame, Calls) of
        {answered, Left} -> answered(State#state{calls = Left, served = Served + 1});
        {Step, Left} when Step =:= released; Step =:= leave -> py_draining:emptied(State#state{calls = Left});
        {Step, Left} -> py_starting:answered(Step, Frame, State#state{calls = Left});
        error -> py_worker_state:doom({protocol, py_worker_state:head(Frame)}, State)
    end.

answered(State) -> py_draining:emptied(py_draining:recycle_used(py_draining:recycle_large(State))).

%% @doc What Python asks of Erlang.
-spec request(binary(), #state{}) -> #state{}.
request(Frame, #state{guard = undefined} = State) ->
    asked(py_wire:request(Frame), Frame, State);
request(Frame, #state{guard = Guard, atoms = Atoms} = State) ->
    case not is_flooded(State) andalso py_guard:admit(Frame, Guard) of
        {ok, Next} ->
            Now = erlang:monotonic_time(millisecond),
            judged(py_guard:request(py_wire:request(Frame, Atoms), self(), Now, Next), Frame, State);
        _ ->
            py_worker_state:doom({protocol, py_worker_state:head(Frame)}, State)
    end.

judged({do, Harmless, Guard}, Frame, State) ->
    asked(Harmless, Frame, State#state{guard = Guard});
judged({drop, Guard}, _Frame, State) ->
    State#state{guard = Guard};
judged({warn, Text, Guard}, _Frame, State) ->
    logger:warning("~ts", [Text], py_worker_state:metadata(State)),
    State#state{guard = Guard};
judged(doom, Frame, State) ->
    py_worker_state:doom({protocol, py_worker_state:head(Frame)}, State).

%% Of what it makes this process keep for it: answers that it does not read, calls that it does not answer, objects.
is_flooded(#state{calls = Calls, owners = Owners}) ->
    py_interpreter:unread_bytes(py_calls:interpreter(Calls)) > ?MOST_UNREAD_BYTES orelse
        py_calls:open_calls(Calls) > ?MOST_OPEN_CALLS orelse py_owners:count(Owners) > ?MOST_REFERENCES.

%% Of a log record also what runs.
metadata(Id, {log, _, _, _}, #state{calls = Calls} = State) ->
    Known = py_worker_state:metadata(State),
    case py_whose:head(Id, Calls) of
        {ok, Head} -> Known#{call => py_wire:name(Head)};
        none -> Known
    end;
metadata(_Id, _Output, State) ->
    py_worker_state:metadata(State).

asked(Request, Frame, #state{calls = Calls, incarnation = Incarnation, config = #{callbacks := Callbacks}} = State) ->
    Context = #{group_leader => leader(Request, Calls), callbacks => Callbacks},
    case py_request:run(Request, {self(), Incarnation}, Context) of
        {output, Output} ->
            State#state{calls = py_calls:output(running, Output, byte_size(Frame) + 4, metadata(running, Output, State), Calls)};
        {output_of, Id, Output} ->
            State#state{calls = py_calls:output(Id, Output, byte_size(Frame) + 4, metadata(Id, Output, State), Calls)};
        {uncounted, Output} ->
            State#state{calls = py_calls:output(running, Output, 0, metadata(running, Output, State), Calls)};
        {own, Id, Made} ->
            {Ids, Names} = lists:partition(fun is_integer/1, Made),
            Owner = py_whose:owner(Id, Calls),
            Names =:= [] orelse py_shared_owner:own(Owner, py_whose:from(Id, Calls), Names),
            own(Owner, Ids, State);
        {later, Id} ->
            py_filling:stopped(State#state{calls = py_calls:later(Id, Calls)});
        {unbegun, Id} ->
            py_draining:emptied(State#state{calls = py_calls:unbegun(Id, Calls)});
        {told, Id} ->
            State#state{calls = py_calls:told(Id, Calls)};
        {importing, Id} ->
            State#state{calls = py_calls:importing(Id, Calls)};
        {signal, Signal} ->
            State#state{calls = py_pipe:raises(Signal, Calls)};
        {alone, Id} ->
            State#state{calls = py_calls:alone(Id, Calls)};
        {holds, Holds} ->
            State#state{holds = Holds};
        {goes_on, Id} ->
            State#state{calls = py_calls:goes_on(Id, Calls)};
        {asked, Id, Whose, Running} ->
            py_filling:stopped(State#state{calls = py_calls:asked(Id, Whose, Running, Calls)});
        {dropped, Id} ->
            case py_calls:dropped(Id, Calls) of
                {ok, Left} -> State#state{calls = Left, guard = py_guard:answered(State#state.guard)};
                error -> State
            end;
        error ->
            py_worker_state:doom({protocol, py_worker_state:head(Frame)}, State)
    end.

leader({call, _, _, _, _, Whose}, Calls) when is_integer(Whose) -> py_whose:leader(Whose, Calls);
leader(_Request, Calls) -> py_whose:leader(running, Calls).

%% Nobody will see the result of a call that was cancelled.
own(_Owner, [], State) -> State;
own(nobody, Ids, State) -> py_worker_state:forget(Ids, State);
own(Owner, Ids, #state{owners = Owners} = State) -> State#state{owners = py_owners:own(Owner, Ids, Owners)}.
