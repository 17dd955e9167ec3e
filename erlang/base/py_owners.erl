%%% @doc Which process owns which references of one worker. Pure but for the monitors it sets.
%%%
%%% A reference belongs to the process whose call made it, until that process ends or someone releases it.
%%% @private
-module(py_owners).

-export([new/0, own/3, down/2, release/2, clear/1, count/1]).
-export_type([owners/0, owner/0]).

-type owner() :: pid() | {pid(), Keeper :: pid()}.
%% With a keeper: it has the result for the owner, and hands it on before it ends. What is in shared memory is the keeper's until
%% then; a reference is the owner's from the start.
-opaque owners() :: #{pid() => {py_transit:monitor(), [pos_integer()]}}.

-spec new() -> owners().
new() -> #{}.

%% @doc These references are `Pid''s.
-spec own(owner(), [pos_integer()], owners()) -> owners().
own({Pid, _Keeper}, Ids, Owners) ->
    own(Pid, Ids, Owners);
own(Pid, Ids, Owners) ->
    case Owners of
        #{Pid := {Monitor, Held}} -> Owners#{Pid := {Monitor, Ids ++ Held}};
        #{} -> Owners#{Pid => {py_transit:monitor(Pid), Ids}}
    end.

%% @doc A process ended; the references that nobody owns now.
-spec down(pid(), owners()) -> {[pos_integer()], owners()}.
down(Pid, Owners) ->
    case maps:take(Pid, Owners) of
        {{_Monitor, Ids}, Left} -> {Ids, Left};
        error -> {[], Owners}
    end.

%% @doc These references are gone, whoever owned them.
-spec release([pos_integer()], owners()) -> owners().
release(Ids, Owners) ->
    maps:fold(
        fun(Pid, {Monitor, Held}, Acc) ->
            case Held -- Ids of
                [] ->
                    py_transit:demonitor(Monitor),
                    Acc;
                Left ->
                    Acc#{Pid => {Monitor, Left}}
            end
        end,
        #{},
        Owners
    ).

%% @doc The interpreter is gone and every reference with it.
-spec clear(owners()) -> owners().
clear(Owners) ->
    [py_transit:demonitor(Monitor) || {Monitor, _} <- maps:values(Owners)],
    #{}.

-spec count(owners()) -> non_neg_integer().
count(Owners) -> lists:sum([length(Ids) || {_, Ids} <- maps:values(Owners)]).
