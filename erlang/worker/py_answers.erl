%%% @doc Answers on their way from what one read of the port has brought to their callers, in a row where nothing else is to be done with them.
%%%
%%% What is counted of them is counted for some at once, and before the first of these has its answer: who has one finds it in the figures.
%%% @private
-module(py_answers).

-export([give/2, ended/4]).

-include("py_calls.hrl").

%% So many are counted at once: few enough that the first of them runs while others are told.
-define(TOGETHER, 32).

-record(some, {
    frames :: binary(),
    open :: py_inflight:open(),
    %% When the next one began.
    since :: integer(),
    room = ?TOGETHER :: non_neg_integer(),
    %% What callers are to be told, newest first.
    told = [] :: [{reference(), term()}],
    results = 0 :: non_neg_integer(),
    exceptions = 0 :: non_neg_integer()
}).

%% @doc Give the answers that stand first among these frames to their callers: how many, and the frames that are left. For calls of
%% which none waits for Erlang or runs beside the others.
-spec give(Frames :: binary(), calls()) -> {Count :: non_neg_integer(), Frames :: binary(), calls()}.
give(Frames, #calls{sent = Sent, began = {Since, Each, IsOn}} = Calls) ->
    {Count, Rest, Open, Next} = give(Frames, py_inflight:open(Sent), Since, 0, Calls),
    {Count, Rest, Calls#calls{sent = py_inflight:left(Open, Sent), began = {Next, Each, IsOn}}}.

give(Frames, Open, Since, Count, #calls{figures = Figures, began = {_, Each, _}} = Calls) ->
    #some{frames = Rest, open = Left, since = Next, room = Room, told = Told, results = Results, exceptions = Exceptions} =
        some(Frames, Open, Since, ?TOGETHER, [], 0, 0, Calls),
    py_figures:ran(Each, Results + Exceptions, Figures),
    py_figures:count(ok, Results, Figures),
    py_figures:count(python, Exceptions, Figures),
    tell(lists:reverse(Told)),
    case Room of
        0 -> give(Rest, Left, Next, Count + ?TOGETHER, Calls);
        _ -> {Count + ?TOGETHER - Room, Rest, Left, Next}
    end.

some(Frames, Open, Since, Room, Told, Results, Exceptions, Calls) when Room > 0, Frames =/= <<>> ->
    #calls{began = {_, Each, IsOn}, figures = Figures, budget = Budget} = Calls,
    case py_wire:next_answer(Frames) of
        {Id, IsResult, Frame, Rest} ->
            case py_inflight:take(Id, Open) of
                {#{from := From, at := At, cancelled := false} = Call, Left} when not (is_map_key(begun, Call) orelse is_map_key(monitor, Call)) ->
                    Waited = max(0, Since - At),
                    py_figures:waited(Waited, Figures),
                    More = [{From, answer(Frame, Budget, IsOn, Waited, Each)} | Told],
                    case IsResult of
                        true -> some(Rest, Left, Since + Each, Room - 1, More, Results + 1, Exceptions, Calls);
                        false -> some(Rest, Left, Since + Each, Room - 1, More, Results, Exceptions + 1, Calls)
                    end;
                %% Not those of the worker's own.
                {#{from := From} = Call, Left} when is_reference(From) ->
                    {Answer, {Next, _, _}} = ended(Call, Frame, {Since, Each, IsOn}, Calls),
                    py_unwanted:unwatch(Call),
                    some(Rest, Left, Next, Room - 1, [{From, Answer} | Told], Results, Exceptions, Calls);
                _ ->
                    stopped(Frames, Open, Since, Room, Told, Results, Exceptions)
            end;
        none ->
            stopped(Frames, Open, Since, Room, Told, Results, Exceptions)
    end;
some(Frames, Open, Since, Room, Told, Results, Exceptions, _Calls) ->
    stopped(Frames, Open, Since, Room, Told, Results, Exceptions).

stopped(Frames, Open, Since, Room, Told, Results, Exceptions) ->
    #some{frames = Frames, open = Open, since = Since, room = Room, told = Told, results = Results, exceptions = Exceptions}.

tell([{From, _} = Answer | Rest]) ->
    From ! Answer,
    tell(Rest);
tell([]) ->
    ok.

answer(Frame, Budget, false, _Waited, _Ran) -> frame(Frame, Budget);
answer(Frame, Budget, true, Waited, Ran) -> {timed, frame(Frame, Budget), Waited, Ran}.

%% @doc The answer for who has asked, counted, and when the next call began.
-spec ended(py_inflight:call(), Frame :: binary(), py_timing:began(), calls()) ->
    {{frame, binary()} | {frame, binary(), py_atoms:budget()} | {timed, tuple(), integer(), integer()}, py_timing:began()}.
ended(Call, Frame, Began, #calls{budget = Budget} = Calls) ->
    {Times, Next} = py_timing:ended(Call, py_wire:is_result(Frame), Began, Calls),
    case Times of
        {Waited, Ran} -> {answer(Frame, Budget, true, Waited, Ran), Next};
        none -> {frame(Frame, Budget), Next}
    end.

frame(Frame, node) -> {frame, small(Frame)};
frame(Frame, Budget) -> {frame, Frame, Budget}.

%% A part of a large binary costs more than a few bytes of one's own.
small(Frame) when byte_size(Frame) =< 64 -> binary:copy(Frame);
small(Frame) -> Frame.
