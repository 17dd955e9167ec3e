%%% @doc The calls that a worker has sent and not seen answered. Pure: no process, no clock.
%%%
%%% Python runs calls first in, first out, so the oldest unanswered one is the one that runs. While that one waits for an
%%% answer of Erlang's, the calls sent before that answer are run inside it, and may wait in their turn: `stack' has the
%%% calls that wait, innermost first, and `oldest' is the oldest open call that does not.
%%%
%%% A call that turns out to be a coroutine runs beside the others: it is taken out of that order, into `later'. Where calls run in
%%% threads, any that was begun may run; which of them wait for Erlang is in `asks', as it is for coroutines.
%%%
%%% Each call has a number in the order of sending, from 1 in each interpreter (ids wrap, these do not). What Python has
%%% begun is a prefix of that order, so a count says which calls it has not: see {@link split/2}.
%%% @private
-module(py_inflight).

-export([new/0, size/1, in_line/1, last_bound/1, loose/1, take_above/2, sent/1, add/2, add_all/3, is_plain/1, goes_on_alone/1, is_waited/1, answer/2, open/1, take/2, left/2, cancel/2, asked/3, goes_on/2, told/2, running/1, all/1, split/2]).
-export([watch/3, later/2, find/2, is_of/2, unwanted/2, importing/2, depth/1, innermost/1, question/2]).
-export([cancel_of/2, waits/2, begun/3, under_way/2, is_caller/3, speaker/2, asks/3, asking/1, asked_back/4, taken_back/2, first/1]).
-export_type([calls/0, call/0, open/0]).

-type call() :: #{
    from := term(), cancelled := boolean(), number := pos_integer(), caller => pid(), monitor => reference(), _ => _
}.
-type open() :: #{py_wire:id() => call()}.
-type calls() :: #{
    next := py_wire:id(),
    oldest := py_wire:id(),
    sent := non_neg_integer(),
    open := open(),
    later := #{py_wire:id() => call()},
    asks := #{Question :: term() => py_wire:id()},
    stack := [{py_wire:id(), Question :: term(), Before :: non_neg_integer() | infinity}]
}.

-define(LAST_ID, 16#7fffffff).

-spec new() -> calls().
new() -> #{next => 1, oldest => 1, sent => 0, open => #{}, later => #{}, asks => #{}, stack => []}.

-spec size(calls()) -> non_neg_integer().
size(#{open := Open, later := Later}) -> map_size(Open) + map_size(Later).

%% @doc How many of them run one after another, or wait inside each other.
-spec in_line(calls()) -> non_neg_integer().
in_line(#{open := Open}) -> map_size(Open).

%% @doc The number of the call whose answer is to come first, where others stand behind it.
-spec first(calls()) -> pos_integer() | none.
first(#{open := Open, oldest := Oldest}) when map_size(Open) > 1 ->
    case Open of
        #{Oldest := #{number := Number}} -> Number;
        #{} -> none
    end;
first(_Calls) ->
    none.

%% @doc The number of the last open one that no other worker may have.
-spec last_bound(calls()) -> non_neg_integer().
last_bound(#{open := Open}) -> maps:fold(fun last_bound/3, 0, Open).

last_bound(_Id, #{free := true}, Last) -> Last;
last_bound(_Id, #{number := Number}, Last) -> max(Number, Last).

%% @doc How many could be taken out of the line, if the first has begun and no other.
-spec loose(calls()) -> non_neg_integer().
loose(#{open := Open} = Calls) ->
    Last =
        case running(Calls) of
            {_, #{number := Number}} -> max(Number, last_bound(Calls));
            none -> last_bound(Calls)
        end,
    maps:fold(fun(_, #{number := N}, Count) when N > Last -> Count + 1; (_, _, Count) -> Count end, 0, Open).

%% @doc Take out those with a greater number.
-spec take_above(non_neg_integer(), calls()) -> {#{py_wire:id() => call()}, calls()}.
take_above(Above, #{open := Open, oldest := Oldest, next := Next} = Calls) ->
    Taken = maps:filter(fun(_, #{number := Number}) -> Number > Above end, Open),
    Left = maps:without(maps:keys(Taken), Open),
    {Taken, Calls#{open := Left, oldest := oldest(Oldest, Next, Left)}}.

%% @doc How many calls this interpreter was sent.
-spec sent(calls()) -> non_neg_integer().
sent(#{sent := Sent}) -> Sent.

%% @doc Note a call that is being sent, and give it its id.
-spec add(map(), calls()) -> {py_wire:id(), calls()}.
add(Call, #{next := Id, open := Open, sent := Sent} = Calls) ->
    {Id, Calls#{next := following(Id), open := Open#{Id => numbered(Sent + 1, Call)}, sent := Sent + 1}}.

%% One that has the keys already needs no list of them of its own.
numbered(Number, #{cancelled := false, number := _} = Call) -> Call#{number := Number};
numbered(Number, Call) -> Call#{cancelled => false, number => Number}.

%% @doc The same for some, in order: what `Frame' makes of each id and of what belongs to the call, newest first.
-spec add_all([{map(), What}], fun((py_wire:id(), What) -> Frame), calls()) -> {[Frame], calls()}.
add_all(Some, Frame, #{next := Id, open := Open, sent := Sent} = Calls) ->
    {Frames, Next, More, Last} = add_each(Some, Frame, Id, Open, Sent, []),
    {Frames, Calls#{next := Next, open := More, sent := Last}}.

add_each([{Call, What} | Rest], Frame, Id, Open, Sent, Frames) ->
    Added = numbered(Sent + 1, Call),
    add_each(Rest, Frame, following(Id), Open#{Id => Added}, Sent + 1, [Frame(Id, What) | Frames]);
add_each([], _Frame, Id, Open, Sent, Frames) ->
    {Frames, Id, Open, Sent}.

%% @doc Whether no call waits for Erlang and none runs beside the others.
-spec is_plain(calls()) -> boolean().
is_plain(#{stack := Stack, later := Later}) -> Stack =:= [] andalso map_size(Later) =:= 0.

%% @doc Whether a call waits for Erlang that has no answer yet.
-spec is_waited(calls()) -> boolean().
is_waited(#{stack := Stack}) -> lists:keymember(infinity, 3, Stack).

%% @doc Whether none runs beside the others, and each that has waited for Erlang has its answer: the last of them runs on, nothing inside it.
-spec goes_on_alone(calls()) -> boolean().
goes_on_alone(#{stack := []} = Calls) ->
    is_plain(Calls);
goes_on_alone(#{stack := [{Top, _, _} | _], later := Later} = Calls) ->
    map_size(Later) =:= 0 andalso not is_waited(Calls) andalso element(1, running(Calls)) =:= Top.

%% @doc Take out the call that was answered; `error' for an id that is not open.
-spec answer(py_wire:id(), calls()) -> {call(), calls()} | error.
answer(Id, #{open := Open, later := Later} = Calls) ->
    case Open of
        #{Id := Call} ->
            {Call, without(Id, Calls)};
        #{} ->
            case maps:take(Id, Later) of
                {Call, Left} -> {Call, Calls#{later := Left}};
                error -> error
            end
    end.

%% @doc Those that run one after another, for {@link take/2} where no call waits for Erlang; {@link left/2} puts back what is left of them.
-spec open(calls()) -> open().
open(#{open := Open}) -> Open.

-spec take(py_wire:id(), open()) -> {call(), open()} | error.
take(Id, Open) -> maps:take(Id, Open).

-spec left(open(), calls()) -> calls().
left(Open, #{oldest := Oldest, next := Next} = Calls) -> Calls#{open := Open, oldest := oldest(Oldest, Next, Open)}.

without(Id, #{open := Open, stack := [], oldest := Oldest, next := Next} = Calls) ->
    Left = maps:remove(Id, Open),
    Calls#{open := Left, oldest := oldest(Oldest, Next, Left)};
without(Id, #{open := Open, stack := Stack} = Calls) ->
    advance(Calls#{open := maps:remove(Id, Open), stack := lists:keydelete(Id, 1, Stack)}).

%% @doc The open call with that id.
-spec find(py_wire:id(), calls()) -> {ok, call()} | error.
find(Id, #{open := Open, later := Later}) ->
    case maps:find(Id, Open) of
        error -> maps:find(Id, Later);
        Found -> Found
    end.

%% @doc That call runs beside the others from now on.
-spec later(py_wire:id(), calls()) -> calls().
later(Id, #{open := Open, later := Later} = Calls) ->
    case Open of
        #{Id := Call} -> (without(Id, Calls))#{later := Later#{Id => Call}};
        #{} -> Calls
    end.

%% @doc Mark the calls of `From' (an alias), or of a caller that has died (its monitor), as unwanted: their ids. Those that
%% are marked already are none.
-spec cancel(From :: term(), calls()) -> {[py_wire:id()], calls()}.
cancel(From, #{open := Open, later := Later} = Calls) ->
    case {wanted(From, Open), wanted(From, Later)} of
        {[], []} -> {[], Calls};
        {Some, Others} -> {lists:sort(Some ++ Others), Calls#{open := mark(Some, Open), later := mark(Others, Later)}}
    end.

%% @doc The same for the calls of callers that this says yes to.
-spec cancel_of(fun((pid()) -> boolean()), calls()) -> {[py_wire:id()], calls()}.
cancel_of(IsUnwanted, #{open := Open} = Calls) ->
    Ids = [Id || {Id, #{cancelled := false, caller := Caller}} <- maps:to_list(Open), IsUnwanted(Caller)],
    {lists:sort(Ids), Calls#{open := mark(Ids, Open)}}.

wanted(From, Some) -> [Id || {Id, #{cancelled := false} = Call} <- maps:to_list(Some), is_of(From, Call)].

mark(Ids, Some) -> lists:foldl(fun(Id, Acc) -> Acc#{Id := (maps:get(Id, Acc))#{cancelled := true}} end, Some, Ids).

%% @doc Whether a call is that of an alias, or of the caller with this monitor.
-spec is_of(term(), map()) -> boolean().
is_of(From, #{from := From}) -> true;
is_of(Monitor, #{monitor := Monitor}) -> true;
is_of(_, _) -> false.

%% @doc Put a mark on each open call that was sent up to this number and has none: `Monitor' makes it. For calls that take
%% long enough for their callers to be watched.
-spec watch(UpTo :: non_neg_integer(), fun((pid()) -> reference()), calls()) -> calls().
watch(UpTo, Monitor, #{open := Open, later := Later} = Calls) ->
    Watch = fun
        (_, #{monitor := _} = Call) -> Call;
        (_, #{caller := Caller, number := Number} = Call) when Number =< UpTo -> Call#{monitor => Monitor(Caller)};
        (_, Call) -> Call
    end,
    Calls#{open := maps:map(Watch, Open), later := maps:map(Watch, Later)}.

%% @doc The call with this id has asked Erlang something, and waits; where that is not known, the running one.
-spec asked(Question :: term(), Whose :: py_wire:id() | 0 | unknown, calls()) -> calls().
asked(Question, unknown, Calls) ->
    case running(Calls) of
        {Id, _} -> asked(Question, Id, Calls);
        none -> Calls
    end;
asked(Question, Id, #{stack := Stack, open := Open} = Calls) ->
    case {Open, lists:keyfind(Id, 1, Stack)} of
        %% A handler asks, or a finalizer, that has entered where the call waits.
        {_, {Id, _, infinity}} -> Calls;
        {#{Id := _}, _} -> advance(Calls#{stack := [{Id, Question, infinity} | lists:keydelete(Id, 1, Stack)]});
        {#{}, _} -> Calls
    end.

%% @doc The answer to a question was sent: behind the calls that were sent before.
-spec told(Question :: term(), calls()) -> calls().
told(Question, #{asks := Asks} = Calls) when is_map_key(Question, Asks) ->
    Calls#{asks := maps:remove(Question, Asks)};
told(Question, #{stack := Stack, sent := Sent} = Calls) ->
    case lists:keyfind(Question, 2, Stack) of
        {Id, _, _} -> Calls#{stack := lists:keyreplace(Question, 2, Stack, {Id, told, Sent + 1})};
        false -> Calls
    end.

%% @doc That call has its answer, and runs: nothing more inside it.
-spec goes_on(py_wire:id(), calls()) -> calls().
goes_on(Id, #{stack := Stack} = Calls) ->
    case lists:keyfind(Id, 1, Stack) of
        {Id, told, _} -> Calls#{stack := lists:keyreplace(Id, 1, Stack, {Id, told, 0})};
        _ -> Calls
    end.

%% @doc The call that Python is busy with; `none' when it has none, or all that it has wait.
-spec running(calls()) -> {py_wire:id(), call()} | none.
running(#{open := Open, stack := [{Top, _, Before} | _], oldest := Oldest}) ->
    case Open of
        #{Oldest := #{number := Number} = Call} when Number < Before -> {Oldest, Call};
        #{} when Before =:= infinity -> none;
        #{Top := Call} -> {Top, Call}
    end;
running(#{open := Open, oldest := Oldest}) ->
    case Open of
        #{Oldest := Call} -> {Oldest, Call};
        #{} -> none
    end.

%% @doc Whether a call that Python has begun is not wanted any more: `{due, Id}' where it has Python to itself, waiting or not,
%% and has to end; `{covered, How}' where one that is wanted runs inside it, or waits there for Erlang. How many calls Python has
%% begun says whether it does.
-spec unwanted(Begun :: non_neg_integer() | unknown, calls()) -> {due, py_wire:id()} | {covered, runs | waits} | none.
unwanted(Begun, Calls) ->
    case busy(Begun, Calls) of
        {Id, #{cancelled := true}, _How} -> {due, Id};
        {_, _, How} -> covered(How, Calls);
        none -> none
    end.

covered(_How, #{stack := []}) ->
    none;
covered(How, #{stack := Stack, open := Open}) ->
    case [Id || {Id, _, _} <- Stack, map_get(cancelled, map_get(Id, Open))] of
        [] -> none;
        _ -> {covered, How}
    end.

%% What has not begun may be about to, where nothing waits; it does not run inside another.
busy(Begun, #{stack := [{Top, _, Before} | _], open := Open} = Calls) ->
    #{Top := Waiting} = Open,
    How = if Before =:= infinity -> waits; true -> runs end,
    case running(Calls) of
        {_, #{number := Number}} when Number > Begun -> {Top, Waiting, How};
        {Id, Call} -> {Id, Call, runs};
        none -> {Top, Waiting, How}
    end;
busy(_Begun, Calls) ->
    case running(Calls) of
        {Id, Call} -> {Id, Call, runs};
        none -> none
    end.

%% @doc That call, which is not wanted, is in the middle of an import.
-spec importing(py_wire:id(), calls()) -> calls().
importing(Id, #{open := Open} = Calls) ->
    case Open of
        #{Id := Call} -> Calls#{open := Open#{Id := Call#{importing => true}}};
        #{} -> Calls
    end.

%% @doc How many calls wait inside each other.
-spec depth(calls()) -> non_neg_integer().
depth(#{stack := Stack}) -> length(Stack).

%% @doc The question that has to be answered before anything else can go on.
-spec innermost(calls()) -> {ok, Question :: term()} | none.
innermost(#{stack := [{_, Question, infinity} | _]}) -> {ok, Question};
innermost(_) -> none.

%% @doc What the call with that id waits for.
-spec question(py_wire:id(), calls()) -> {ok, Question :: term()} | none.
question(Id, #{stack := Stack, asks := Asks}) ->
    case lists:keyfind(Id, 1, Stack) of
        {_, Question, infinity} ->
            {ok, Question};
        _ ->
            case [Question || {Question, Whose} <- maps:to_list(Asks), Whose =:= Id] of
                [Question | _] -> {ok, Question};
                [] -> none
            end
    end.

%% @doc The call with this id, which runs in a thread or is a coroutine, has asked Erlang something.
-spec asks(Question :: term(), py_wire:id() | 0 | unknown, calls()) -> calls().
asks(Question, Id, #{asks := Asks} = Calls) ->
    case find(Id, Calls) of
        {ok, _} -> Calls#{asks := Asks#{Question => Id}};
        error -> Calls
    end.

%% @doc Those of the calls that were sent to so many threads which had not begun, when this many had: their ids, with a mark on
%% each. Where that is unknown, those that can't have.
-spec asked_back(free | all, Begun :: non_neg_integer() | unknown, Threads :: pos_integer(), calls()) -> {[py_wire:id()], calls()}.
asked_back(Which, Begun, Threads, #{open := Open} = Calls) ->
    Sorted = lists:sort([
        {Number, Id}
     || {Id, #{number := Number, from := From} = Call} <- maps:to_list(Open),
        is_reference(From),
        Which =:= all orelse maps:get(free, Call, false),
        not is_map_key(asked_back, Call)
    ]),
    Ids =
        case Begun of
            unknown -> [Id || {_, Id} <- lists:nthtail(min(length(Sorted), Threads + asking(Calls)), Sorted)];
            _ -> [Id || {Number, Id} <- Sorted, Number > Begun]
        end,
    {Ids, Calls#{open := lists:foldl(fun(Id, Acc) -> Acc#{Id := (maps:get(Id, Acc))#{asked_back => true}} end, Open, Ids)}}.

%% @doc Take out a call that has not begun: one that was asked back, or that nobody wants.
-spec taken_back(py_wire:id(), calls()) -> {call(), calls()} | error.
taken_back(Id, #{open := Open} = Calls) ->
    case Open of
        #{Id := #{asked_back := true}} -> answer(Id, Calls);
        #{Id := #{cancelled := true}} -> answer(Id, Calls);
        #{} -> error
    end.

%% @doc How many of those wait for Erlang.
-spec asking(calls()) -> non_neg_integer().
asking(#{asks := Asks}) -> map_size(Asks).

%% @doc Whether a call that runs, or waits for Erlang, is this caller's.
-spec waits(pid(), calls()) -> boolean().
waits(Caller, #{stack := Stack, open := Open} = Calls) ->
    Ids = [Id || {Id, _} <- [running(Calls)]] ++ [Id || {Id, _, _} <- Stack],
    lists:any(fun(Id) -> maps:get(caller, map_get(Id, Open), none) =:= Caller end, Ids).

%% @doc That call has begun then, whatever runs inside it or beside it.
-spec begun(py_wire:id() | 0 | unknown, Us :: integer(), calls()) -> calls().
begun(Id, Us, #{open := Open} = Calls) ->
    case Open of
        #{Id := #{begun := _}} -> Calls;
        #{Id := Call} -> Calls#{open := Open#{Id := Call#{begun => Us}}};
        #{} -> Calls
    end.

%% @doc The calls that Python has begun: that which runs, those that wait for Erlang, those that run beside.
-spec under_way(Threads :: pos_integer(), calls()) -> [call()].
under_way(Threads, #{open := Open, later := Later} = Calls) when Threads > 1 ->
    Sorted = lists:sort([{Number, Call} || #{number := Number} = Call <- maps:values(Open)]),
    [Call || {_, Call} <- lists:sublist(Sorted, Threads + asking(Calls))] ++ maps:values(Later);
under_way(_Threads, #{stack := Stack, open := Open, later := Later} = Calls) ->
    Line = [Call || {_, Call} <- [running(Calls)]],
    Outer = [map_get(Id, Open) || {Id, _, _} <- Stack],
    lists:usort(Line ++ Outer ++ maps:values(Later)).

%% @doc Who says something: the call with this id, if it is open, or the one that runs; while all wait for Erlang the innermost.
-spec speaker(py_wire:id() | running, calls()) -> {ok, call()} | error.
speaker(running, #{stack := Stack, open := Open} = Calls) ->
    case {running(Calls), Stack} of
        {{_, Call}, _} -> {ok, Call};
        {none, [{Innermost, _, _} | _]} -> maps:find(Innermost, Open);
        {none, []} -> error
    end;
speaker(Id, Calls) ->
    case find(Id, Calls) of
        {ok, Call} -> {ok, Call};
        error -> speaker(running, Calls)
    end.

%% @doc Whether the call with this id, if it is open, is this caller's.
-spec is_caller(pid(), py_wire:id() | running, calls()) -> boolean().
is_caller(_Caller, running, _Calls) ->
    false;
is_caller(Caller, Id, Calls) ->
    case find(Id, Calls) of
        {ok, #{caller := Caller}} -> true;
        _ -> false
    end.

%% @doc Every open call, in the order of sending.
-spec all(calls()) -> [call()].
all(#{open := Open, later := Later}) ->
    Both = maps:values(Open) ++ maps:values(Later),
    [Call || {_, Call} <- lists:sort([{Number, Call} || #{number := Number} = Call <- Both])].

%% @doc The open calls that Python had begun, and those that it had not, when it had begun this many. Of an `unknown' number
%% any may have been begun.
-spec split(Begun :: non_neg_integer() | unknown, calls()) -> {Begun :: [call()], Untouched :: [call()]}.
split(unknown, Calls) -> {all(Calls), []};
split(Begun, Calls) -> lists:splitwith(fun(#{number := Number}) -> Number =< Begun end, all(Calls)).

oldest(Next, Next, _Open) -> Next;
oldest(Id, _Next, Open) when is_map_key(Id, Open) -> Id;
oldest(Id, Next, Open) -> oldest(following(Id), Next, Open).

%% Answers can overtake (a call that nests in a callback is answered first), so the next one is looked for.
advance(#{next := Next, oldest := Next} = Calls) ->
    Calls;
advance(#{open := Open, oldest := Oldest, stack := Stack} = Calls) ->
    case is_map_key(Oldest, Open) andalso not lists:keymember(Oldest, 1, Stack) of
        true -> Calls;
        false -> advance(Calls#{oldest := following(Oldest)})
    end.

following(?LAST_ID) -> 1;
following(Id) -> Id + 1.
