%%% @doc The calls that a worker has sent and not seen answered. Pure: no process, no clock.
%%%
%%% Python runs calls first in, first out, so the oldest unanswered one is the one that runs. While that one waits for an
%%% answer of Erlang's, the calls sent before that answer are run inside it, and may wait in their turn: `stack' has the
%%% calls that wait, innermost first.
-module(py_inflight).

-export([new/0, size/1, add/2, answer/2, cancel/2, asked/2, told/2, running/1, all/1]).
-export_type([calls/0, call/0]).

-type call() :: #{from := term(), cancelled := boolean(), _ => _}.
-type calls() :: #{
    next := py_wire:id(),
    oldest := py_wire:id(),
    open := #{py_wire:id() => call()},
    stack := [{py_wire:id(), Question :: term(), Before :: py_wire:id() | infinity}]
}.

-define(LAST_ID, 16#7fffffff).

-spec new() -> calls().
new() -> #{next => 1, oldest => 1, open => #{}, stack => []}.

-spec size(calls()) -> non_neg_integer().
size(#{open := Open}) -> map_size(Open).

%% @doc Note a call that is being sent, and give it its id.
-spec add(map(), calls()) -> {py_wire:id(), calls()}.
add(Call, #{next := Id, open := Open} = Calls) ->
    {Id, Calls#{next := following(Id), open := Open#{Id => Call#{cancelled => false}}}}.

%% @doc Take out the call that was answered; `error' for an id that is not open.
-spec answer(py_wire:id(), calls()) -> {call(), calls()} | error.
answer(Id, #{open := Open, stack := Stack} = Calls) ->
    case maps:take(Id, Open) of
        {Call, Left} -> {Call, advance(Calls#{open := Left, stack := lists:keydelete(Id, 1, Stack)})};
        error -> error
    end.

%% @doc Mark the call of `From' as unwanted. `running' when it is the one that Python is busy with.
-spec cancel(From :: term(), calls()) -> {running | queued, calls()} | not_found.
cancel(From, #{open := Open, oldest := Oldest} = Calls) ->
    case [{Id, Call} || {Id, #{from := F} = Call} <- maps:to_list(Open), F =:= From] of
        [{Id, Call}] ->
            Marked = Calls#{open := Open#{Id := Call#{cancelled := true}}},
            case Id of
                Oldest -> {running, Marked};
                _ -> {queued, Marked}
            end;
        [] ->
            not_found
    end.

%% @doc The running call has asked Erlang something, and waits.
-spec asked(Question :: term(), calls()) -> calls().
asked(Question, #{stack := Stack} = Calls) ->
    case running(Calls) of
        {Id, _} -> Calls#{stack := [{Id, Question, infinity} | lists:keydelete(Id, 1, Stack)]};
        none -> Calls
    end.

%% @doc The answer to a question was sent: behind the calls that were sent before.
-spec told(Question :: term(), calls()) -> calls().
told(Question, #{stack := Stack, next := Next} = Calls) ->
    case lists:keyfind(Question, 2, Stack) of
        {Id, _, _} -> Calls#{stack := lists:keyreplace(Question, 2, Stack, {Id, told, Next})};
        false -> Calls
    end.

%% @doc The call that Python is busy with; `none' when it has none, or all that it has wait.
-spec running(calls()) -> {py_wire:id(), call()} | none.
running(#{open := Open, stack := [{Top, _, Before} | _] = Stack}) ->
    case lists:sort([Id || Id <- maps:keys(Open), not lists:keymember(Id, 1, Stack)]) of
        [Id | _] when Id < Before -> {Id, maps:get(Id, Open)};
        _ when Before =:= infinity -> none;
        _ -> {Top, maps:get(Top, Open)}
    end;
running(#{open := Open, oldest := Oldest}) ->
    case Open of
        #{Oldest := Call} -> {Oldest, Call};
        #{} -> none
    end.

%% @doc Every open call, oldest first as long as the ids have not wrapped.
-spec all(calls()) -> [call()].
all(#{open := Open}) -> [Call || {_Id, Call} <- lists:sort(maps:to_list(Open))].

%% Answers can overtake (a call that nests in a callback is answered first), so the oldest id is looked for.
advance(#{open := Open, oldest := Oldest} = Calls) when is_map_key(Oldest, Open) -> Calls;
advance(#{open := Open, next := Next} = Calls) when map_size(Open) =:= 0 -> Calls#{oldest := Next};
advance(#{oldest := Oldest} = Calls) -> advance(Calls#{oldest := following(Oldest)}).

following(?LAST_ID) -> 1;
following(Id) -> Id + 1.
