%%% @doc Whose it is what Python makes and says: each call has an owner and a group leader.
%%% @private
-module(py_whose).

-export([owner/2, from/2, leader/2, reader/2, head/2]).

-include("py_calls.hrl").

%% @doc Whose the references are that the call with this id has made; `nobody' where its result is not wanted.
-spec owner(py_wire:id(), calls()) -> py_owners:owner() | nobody.
owner(Id, #calls{sent = Sent}) ->
    case py_inflight:find(Id, Sent) of
        {ok, #{cancelled := true}} -> nobody;
        {ok, #{owner := Owner}} -> Owner;
        error -> self()
    end.

%% @doc What a call with this id is cancelled by.
-spec from(py_wire:id(), calls()) -> reference() | none.
from(Id, #calls{sent = Sent}) ->
    case py_inflight:find(Id, Sent) of
        {ok, #{from := From}} when is_reference(From) -> From;
        _ -> none
    end.

%% @doc The group leader of the call with this id, if it is open, or of the one that runs. While all wait for Erlang a handler or a
%% thread may print: for the innermost of them.
-spec leader(py_wire:id() | running, calls()) -> pid().
leader(Id, #calls{sent = Sent}) ->
    case py_inflight:speaker(Id, Sent) of
        {ok, #{group_leader := Leader}} -> Leader;
        _ -> group_leader()
    end.

%% @doc Enough of the bytes of the call with this id, or of the one that runs, to tell what it calls.
-spec head(py_wire:id() | running, calls()) -> {ok, binary()} | none.
head(Id, #calls{sent = Sent}) ->
    case py_inflight:speaker(Id, Sent) of
        {ok, #{head := Head}} -> {ok, Head};
        _ -> none
    end.

%% @doc The same, and whether it is itself the caller of what has to end before it can take a text. A driver's connection answers whatever
%% it has asked for.
-spec reader(py_wire:id() | running, calls()) -> py_outlet:leader().
reader(Id, #calls{sent = Sent} = Calls) ->
    Leader = leader(Id, Calls),
    Waits = py_inflight:waits(Leader, Sent) orelse py_inflight:is_caller(Leader, Id, Sent),
    {Leader, Waits andalso not py_leaders:is_one(Leader)}.
