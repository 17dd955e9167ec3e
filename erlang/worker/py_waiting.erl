%%% @doc The calls that wait in a worker process, in the order in which they came. Pure.
%%%
%%% Those that are free to go to another worker are counted apart: they may leave for one, and nothing else may.
%%% @private
-module(py_waiting).

-export([new/0, in/3, out/2, size/1, free/1, calls/1, to_list/1, cancel/2, take_out/2, watch/2, give_back/2, is_full/5]).
-export_type([waiting/0]).

-record(waiting, {
    %% Those that are watched, which came first; and the others.
    watched = queue:new() :: queue:queue({map(), py_wire:body()}),
    queue = queue:new() :: queue:queue({map(), py_wire:body()}),
    size = 0 :: non_neg_integer(),
    free = 0 :: non_neg_integer()
}).
-opaque waiting() :: #waiting{}.

-spec new() -> waiting().
new() -> #waiting{}.

-spec in(map(), py_wire:body(), waiting()) -> waiting().
in(Call, Body, #waiting{queue = Queue, size = Size, free = Free} = Waiting) ->
    Waiting#waiting{queue = queue:in({Call, Body}, Queue), size = Size + 1, free = Free + worth(Call)}.

%% @doc The first ones, so many at the most, and the others.
-spec out(Most :: pos_integer() | infinity, waiting()) -> {[{map(), py_wire:body()}], waiting()}.
out(Most, #waiting{size = Size} = Waiting) when Size =< Most ->
    {to_list(Waiting), new()};
out(Most, Waiting) ->
    out(Most, [], Waiting).

out(0, Out, Waiting) ->
    {lists:reverse(Out), Waiting};
out(Most, Out, Waiting) ->
    {Call, Body, Left} = first(Waiting),
    out(Most - 1, [{Call, Body} | Out], Left).

first(#waiting{watched = Watched, queue = Queue, size = Size, free = Free} = Waiting) ->
    case queue:out(Watched) of
        {{value, {Call, Body}}, Left} ->
            {Call, Body, Waiting#waiting{watched = Left, size = Size - 1, free = Free - worth(Call)}};
        {empty, _} ->
            {{value, {Call, Body}}, Left} = queue:out(Queue),
            {Call, Body, Waiting#waiting{queue = Left, size = Size - 1, free = Free - worth(Call)}}
    end.

worth(#{free := true}) -> 1;
worth(#{}) -> 0.

-spec size(waiting()) -> non_neg_integer().
size(#waiting{size = Size}) -> Size.

%% @doc How many of them may go to another worker.
-spec free(waiting()) -> non_neg_integer().
free(#waiting{free = Free}) -> Free.

-spec calls(waiting()) -> [map()].
calls(Waiting) -> [Call || {Call, _} <- to_list(Waiting)].

-spec to_list(waiting()) -> [{map(), py_wire:body()}].
to_list(#waiting{watched = Watched, queue = Queue}) -> queue:to_list(Watched) ++ queue:to_list(Queue).

%% @doc Take out those of an alias, or of the caller with this monitor.
-spec cancel(reference(), waiting()) -> {[map()], waiting()}.
cancel(_From, #waiting{size = 0} = Waiting) ->
    {[], Waiting};
cancel(From, Waiting) ->
    take_out(fun(Call) -> py_inflight:is_of(From, Call) end, Waiting).

%% @doc Take out those of which this is true.
-spec take_out(fun((map()) -> boolean()), waiting()) -> {[map()], waiting()}.
take_out(IsOut, Waiting) ->
    {Out, Kept} = lists:partition(fun({Call, _}) -> IsOut(Call) end, to_list(Waiting)),
    {[Call || {Call, _} <- Out], of_list(Kept)}.

of_list(List) ->
    #waiting{queue = queue:from_list(List), size = length(List), free = lists:sum([worth(Call) || {Call, _} <- List])}.

%% @doc Whether one more would be one too many of those that wait, with so many calls in hand, and coroutines among them. What runs does not
%% count. Of a call that has just come nobody knows yet whether it is a coroutine's.
-spec is_full(InHand, Coroutines, Most, Threads :: pos_integer(), MostCoroutines :: pos_integer() | infinity) -> boolean() when
    InHand :: non_neg_integer(), Coroutines :: non_neg_integer(), Most :: non_neg_integer().
is_full(InHand, Coroutines, Most, Threads, infinity) -> InHand - Coroutines >= Most + Threads;
is_full(InHand, _Coroutines, Most, Threads, MostCoroutines) -> InHand >= Most + Threads + MostCoroutines - 1.

%% @doc Put a mark on each that has none: `Monitor' makes it. Those that had one the last time are not looked at: there may be many, and this is
%% done often.
-spec watch(fun((pid()) -> reference()), waiting()) -> waiting().
watch(_Monitor, #waiting{size = 0} = Waiting) ->
    Waiting;
watch(Monitor, #waiting{watched = Watched, queue = Queue} = Waiting) ->
    Watch = fun
        ({#{monitor := _}, _} = Known, Acc) -> queue:in(Known, Acc);
        ({#{caller := Caller} = Call, Body}, Acc) -> queue:in({Call#{monitor => Monitor(Caller)}, Body}, Acc)
    end,
    Waiting#waiting{watched = lists:foldl(Watch, Watched, queue:to_list(Queue)), queue = queue:new()}.

%% @doc Take out so many of the free ones, those that have waited longest; `all' the others, too.
-spec give_back(non_neg_integer() | all, waiting()) -> {[map()], waiting()}.
give_back(all, Waiting) ->
    {calls(Waiting), new()};
give_back(Count, #waiting{size = Size, free = Size} = Waiting) ->
    {Out, Left} = lists:split(min(Count, Size), to_list(Waiting)),
    {[Call || {Call, _} <- Out], of_list(Left)};
give_back(Count, Waiting) ->
    give_back(Count, to_list(Waiting), [], []).

give_back(Count, [{#{free := true} = Call, _} | Rest], Out, Kept) when Count > 0 -> give_back(Count - 1, Rest, [Call | Out], Kept);
give_back(Count, [Other | Rest], Out, Kept) -> give_back(Count, Rest, Out, [Other | Kept]);
give_back(_Count, [], Out, Kept) -> {lists:reverse(Out), of_list(lists:reverse(Kept))}.
