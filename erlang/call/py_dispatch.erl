%%% @doc Which task goes to which worker next: what {@link py_dispatcher} decides, without its processes. Pure: is told what has happened, and
%%% the time in microseconds; says what is to be given to whom.
%%%
%%% Tasks wait in a queue for each client; the queues are served in turn. A worker is given a few at a time, its hand, and more while what it
%%% is given is short. What a worker gives back is the first of its client's queue again. Workers are known by their slots.
%%%
%%% A task is queued or given, and is over once. The hand of a slot is the number of the tasks that were given to it and are not over: it
%%% is counted from those, and in no other way.
%%% @private
-module(py_dispatch).

-export([new/0, queued/3, next/4, back/3, over/3, task/2, hold/2, go_on/2, gone/2, waiting/1, waiting_tasks/1, clients/1, hand/2]).
-export_type([dispatch/0, id/0, client/0, task/0]).

-type id() :: term().
-type client() :: term().
-type task() :: {client(), queued | {given, py_registry:slot()}}.
-record(client, {
    queue = queue:new() :: queue:queue(id()),
    %% How many are not over. The queue may have others.
    open = 0 :: non_neg_integer(),
    waiting = 0 :: non_neg_integer(),
    %% So many of the queue are not, at the most.
    unwanted = 0 :: non_neg_integer(),
    held = false :: boolean(),
    %% Its place among the turns.
    turn = none :: none | pos_integer()
}).
-record(hand, {
    count = 0 :: non_neg_integer(),
    since = 0 :: integer(),
    average_us = none :: none | non_neg_integer()
}).
-record(dispatch, {
    clients = #{} :: #{client() => #client{}},
    %% Those whose turn comes. A place that its client does not know is nobody's.
    turns = queue:new() :: queue:queue({client(), Place :: pos_integer()}),
    places = 0 :: non_neg_integer(),
    tasks = #{} :: #{id() => task()},
    hands = #{} :: #{py_registry:slot() => #hand{}},
    waiting = 0 :: non_neg_integer()
}).
-opaque dispatch() :: #dispatch{}.

-define(HAND_OF_SHORT, 16).
-define(SHORT_US, 500).
-define(HAND_US, 1_500).
-define(MOST_IN_HAND, 128).

-spec new() -> dispatch().
new() -> #dispatch{}.

%% @doc A new task waits, as its client's last.
-spec queued(id(), client(), dispatch()) -> dispatch().
queued(Id, Client, #dispatch{tasks = Tasks} = Dispatch) when not is_map_key(Id, Tasks) ->
    #client{open = Open, queue = Queue} = Known = client(Client, Dispatch),
    waits(Id, Client, Known#client{open = Open + 1, queue = queue:in(Id, Queue)}, Dispatch).

client(Client, #dispatch{clients = Clients}) -> maps:get(Client, Clients, #client{}).

waits(Id, Client, #client{waiting = Waiting} = Known, #dispatch{tasks = Tasks, waiting = All} = Dispatch) ->
    turn(Client, Known#client{waiting = Waiting + 1}, Dispatch#dispatch{tasks = Tasks#{Id => {Client, queued}}, waiting = All + 1}).

%% Whoever has something that waits has a turn.
turn(Client, #client{turn = none, waiting = Waiting, held = false} = Known, Dispatch) when Waiting > 0 ->
    #dispatch{clients = Clients, turns = Turns, places = Places} = Dispatch,
    Place = Places + 1,
    Dispatch#dispatch{
        clients = Clients#{Client => Known#client{turn = Place}}, turns = queue:in({Client, Place}, Turns), places = Place
    };
turn(Client, #client{open = 0, held = false}, #dispatch{clients = Clients} = Dispatch) ->
    Dispatch#dispatch{clients = maps:remove(Client, Clients)};
turn(Client, Known, #dispatch{clients = Clients} = Dispatch) ->
    Dispatch#dispatch{clients = Clients#{Client => Known}}.

%% @doc The next task and the slot that it is given to, of those with so many calls in hand; `none' where no task waits, or no worker has
%% room. Its client has its next turn behind the others. A worker has `Hand' tasks of unknown length at the
%% most (see `py_scheduler:hand/1').
-spec next([{py_registry:slot(), InHand :: non_neg_integer()}], Hand :: pos_integer(), Us :: integer(), dispatch()) ->
    {id(), py_registry:slot(), dispatch()} | {none, dispatch()}.
next(_Slots, _Hand, _Now, #dispatch{waiting = 0} = Dispatch) ->
    {none, Dispatch};
next(Slots, Hand, Now, Dispatch) ->
    case [{InHand, Slot} || {Slot, InHand} <- Slots, has_room(Slot, Hand, Dispatch)] of
        [] ->
            {none, Dispatch};
        Room ->
            {_, Slot} = lists:min(Room),
            case whose(Dispatch) of
                {Client, Known, Rest} -> given(Slot, Now, Client, Known, Rest);
                none -> {none, Dispatch#dispatch{turns = queue:new()}}
            end
    end.

whose(#dispatch{turns = Turns} = Dispatch) ->
    case queue:out(Turns) of
        {empty, _} ->
            none;
        {{value, {Client, Place}}, Rest} ->
            case client(Client, Dispatch) of
                #client{turn = Place} = Known -> {Client, Known#client{turn = none}, Dispatch#dispatch{turns = Rest}};
                _ -> whose(Dispatch#dispatch{turns = Rest})
            end
    end.

given(Slot, Now, Client, #client{queue = Queue, waiting = Waiting} = Known, #dispatch{tasks = Tasks, hands = Hands} = Dispatch) ->
    {{value, Id}, Left} = queue:out(Queue),
    case Tasks of
        #{Id := {Client, queued}} ->
            Next = Dispatch#dispatch{
                tasks = Tasks#{Id := {Client, {given, Slot}}},
                hands = Hands#{Slot => more(Now, maps:get(Slot, Hands, #hand{}))},
                waiting = Dispatch#dispatch.waiting - 1
            },
            {Id, Slot, turn(Client, Known#client{queue = Left, waiting = Waiting - 1}, Next)};
        %% Not wanted any more.
        #{} ->
            given(Slot, Now, Client, Known#client{queue = Left}, Dispatch)
    end.

more(Now, #hand{count = 0} = Hand) -> Hand#hand{count = 1, since = Now};
more(_Now, #hand{count = Count} = Hand) -> Hand#hand{count = Count + 1}.

has_room(Slot, Hand, #dispatch{hands = Hands}) ->
    case Hands of
        #{Slot := #hand{count = Count, average_us = Us}} when is_integer(Us), Us < ?SHORT_US, Hand > 1 ->
            Count < max(Hand, hand_of_short(Us));
        #{Slot := #hand{count = Count}} ->
            Count < Hand;
        #{} -> true
    end.

%% As many as are done within one and a half milliseconds: they go to the pipe, and come back, together.
hand_of_short(Us) -> max(?HAND_OF_SHORT, min(?MOST_IN_HAND, ?HAND_US div max(1, Us))).

%% @doc A worker has given that task back, without having begun it: it is its client's first.
-spec back(id(), Us :: integer(), dispatch()) -> dispatch().
back(Id, Now, #dispatch{tasks = Tasks, hands = Hands} = Dispatch) ->
    case Tasks of
        #{Id := {Client, {given, Slot}}} ->
            #client{queue = Queue} = Known = client(Client, Dispatch),
            Fewer = Dispatch#dispatch{hands = fewer(Slot, unknown, Now, Hands)},
            waits(Id, Client, Known#client{queue = queue:in_r(Id, Queue)}, Fewer);
        #{} ->
            Dispatch
    end.

%% @doc That task is over: it was answered, or is not wanted any more (`unknown': that says nothing of how long it took).
-spec over(id(), Us :: integer() | unknown, dispatch()) -> dispatch().
over(Id, Now, #dispatch{tasks = Tasks} = Dispatch) ->
    case maps:take(Id, Tasks) of
        {{Client, At}, Left} ->
            #client{open = Open} = Known = client(Client, Dispatch),
            without(At, Now, Client, Known#client{open = Open - 1}, Dispatch#dispatch{tasks = Left});
        error ->
            Dispatch
    end.

without({given, Slot}, Now, Client, Known, #dispatch{hands = Hands} = Dispatch) ->
    turn(Client, Known, Dispatch#dispatch{hands = fewer(Slot, Now, Now, Hands)});
%% In the queue it is passed over later; where nothing else waits, nothing is left of it.
without(queued, _Now, Client, #client{waiting = 1} = Known, #dispatch{waiting = All} = Dispatch) ->
    turn(Client, Known#client{waiting = 0, turn = none, unwanted = 0, queue = queue:new()}, Dispatch#dispatch{waiting = All - 1});
without(queued, _Now, Client, #client{waiting = Waiting, unwanted = Unwanted} = Known, #dispatch{waiting = All} = Dispatch) ->
    turn(Client, swept(Client, Known#client{waiting = Waiting - 1, unwanted = Unwanted + 1}, Dispatch), Dispatch#dispatch{waiting = All - 1}).

swept(Client, #client{queue = Queue, unwanted = Unwanted, waiting = Waiting} = Known, #dispatch{tasks = Tasks}) when
    Unwanted > Waiting + 100
->
    Known#client{queue = queue:filter(fun(Id) -> maps:get(Id, Tasks, none) =:= {Client, queued} end, Queue), unwanted = 0};
swept(_Client, Known, _Dispatch) ->
    Known.

%% A hand that is empty is remembered for how long its tasks took.
fewer(Slot, Answered, Now, Hands) ->
    #{Slot := #hand{count = Count, since = Since, average_us = Before} = Hand} = Hands,
    Average =
        case Answered of
            unknown -> Before;
            _ when Before =:= none -> Now - Since;
            _ -> (Before * 7 + Now - Since) div 8
        end,
    Hands#{Slot := Hand#hand{count = Count - 1, average_us = Average, since = if is_integer(Now) -> Now; true -> Since end}}.

-spec task(id(), dispatch()) -> {ok, task()} | error.
task(Id, #dispatch{tasks = Tasks}) -> maps:find(Id, Tasks).

%% @doc Nothing more of this client's is given.
-spec hold(client(), dispatch()) -> dispatch().
hold(Client, Dispatch) -> turn(Client, (client(Client, Dispatch))#client{held = true, turn = none}, Dispatch).

-spec go_on(client(), dispatch()) -> dispatch().
go_on(Client, Dispatch) -> turn(Client, (client(Client, Dispatch))#client{held = false}, Dispatch).

%% @doc A client has gone: its tasks, which are over, and where they were.
-spec gone(client(), dispatch()) -> {[{id(), queued | {given, py_registry:slot()}}], dispatch()}.
gone(Client, #dispatch{tasks = Tasks} = Dispatch) ->
    Some =
        case client(Client, Dispatch) of
            #client{open = 0} -> [];
            _ -> [{Id, At} || {Id, {Of, At}} <- maps:to_list(Tasks), Of =:= Client]
        end,
    Left = lists:foldl(fun({Id, _}, Acc) -> over(Id, unknown, Acc) end, Dispatch, Some),
    {Some, Left#dispatch{clients = maps:remove(Client, Left#dispatch.clients)}}.

%% @doc How many tasks wait.
-spec waiting(dispatch()) -> non_neg_integer().
waiting(#dispatch{waiting = Waiting}) -> Waiting.

-spec waiting_tasks(dispatch()) -> [id()].
waiting_tasks(#dispatch{tasks = Tasks}) -> [Id || {Id, {_, queued}} <- maps:to_list(Tasks)].

-spec clients(dispatch()) -> [client()].
clients(#dispatch{clients = Clients}) -> maps:keys(Clients).

%% @doc How many tasks that slot was given that are not over.
-spec hand(py_registry:slot(), dispatch()) -> non_neg_integer().
hand(Slot, #dispatch{hands = Hands}) ->
    case Hands of
        #{Slot := #hand{count = Count}} -> Count;
        #{} -> 0
    end.
