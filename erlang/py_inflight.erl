%%% @doc The calls that a worker has sent and not seen answered. Pure: no process, no clock.
%%%
%%% Python runs calls first in, first out, so the oldest unanswered one is the one that runs.
-module(py_inflight).

-export([new/0, size/1, add/2, answer/2, cancel/2, running/1, all/1]).
-export_type([calls/0, call/0]).

-type call() :: #{from := term(), cancelled := boolean(), _ => _}.
-type calls() :: #{next := py_wire:id(), oldest := py_wire:id(), open := #{py_wire:id() => call()}}.

-define(LAST_ID, 16#7fffffff).

-spec new() -> calls().
new() -> #{next => 1, oldest => 1, open => #{}}.

-spec size(calls()) -> non_neg_integer().
size(#{open := Open}) -> map_size(Open).

%% @doc Note a call that is being sent, and give it its id.
-spec add(map(), calls()) -> {py_wire:id(), calls()}.
add(Call, #{next := Id, open := Open} = Calls) ->
    {Id, Calls#{next := following(Id), open := Open#{Id => Call#{cancelled => false}}}}.

%% @doc Take out the call that was answered; `error' for an id that is not open.
-spec answer(py_wire:id(), calls()) -> {call(), calls()} | error.
answer(Id, #{open := Open} = Calls) ->
    case maps:take(Id, Open) of
        {Call, Left} -> {Call, advance(Calls#{open := Left})};
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

%% @doc The oldest unanswered call.
-spec running(calls()) -> {py_wire:id(), call()} | none.
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
