%%% @doc Terms out of bytes that Python sent, without filling the atom table.
%%%
%%% An atom is never given back, and a BEAM whose table is full ends. So atoms that are new to this node are counted while
%%% it lives, and a frame that would bring more than the budget has left is not decoded. What names them is found by a walk
%%% over the bytes (ERTS User's Guide, "External Term Format"), and only where a frame has new ones at all.
%%% @private
-module(py_atoms).

-export([decode/1, decode/2, known/1, walk/1, session/0, connection/0]).
-export_type([budget/0]).

-type budget() :: node | {sandbox, py_config:pool_name()} | {session | connection, atomics:atomics_ref()}.
%% That of the node; that of a pool whose Python is not trusted, which is small; that of one sandboxed session, which is smaller; that of
%% one driver, who may spend a part of the node's.

-define(VERSION, 131).

%% @doc A budget for one session.
-spec session() -> budget().
session() -> {session, atomics:new(1, [])}.

%% @doc A budget for one driver.
-spec connection() -> budget().
connection() -> {connection, atomics:new(1, [])}.

%% @doc The term, of somebody who brings no new atom, and nothing else that would stay. `error' where the bytes are none, where they would be
%% that, or are compressed.
-spec known(binary()) -> {ok, term()} | error.
known(<<?VERSION, $P, _/binary>>) -> error;
known(Frame) -> decoded(Frame, [safe, used]).

%% @doc The term. `error' where the bytes are none, `{refused, Text}' where it has too many new atoms.
-spec decode(binary()) -> {ok, term()} | {refused, string()} | error.
decode(Frame) -> decode(Frame, node).

%% @doc The same with new atoms from this budget. What is not trusted may not be compressed: how large it is would show when
%% it is.
-spec decode(binary(), budget()) -> {ok, term()} | {refused, string()} | error.
decode(<<?VERSION, $P, _/binary>>, Budget) when Budget =/= node ->
    error;
decode(Frame, Budget) ->
    try binary_to_term(Frame, [safe, used]) of
        Decoded -> whole(Decoded, Frame)
    catch
        error:_ -> decode_new(Frame, Budget)
    end.

whole({Term, Used}, Frame) when Used =:= byte_size(Frame) -> {ok, Term};
whole(_, _) -> error.

decode_new(Frame, Budget) ->
    Most = lists:min([Most || {_, Most} <- limits(Budget)]),
    %% With more names than that there are too many new ones among them.
    case walk(Frame, erlang:system_info(atom_count) + Most) of
        {ok, Names} ->
            New = new_ones(Names, []),
            case spend(length(New), Budget) of
                true -> decode_spent(Frame, New, Budget);
                {false, Bound} -> refused(integer_to_list(length(New)), Bound)
            end;
        too_many ->
            refused("more than " ++ integer_to_list(Most), Most);
        error ->
            error
    end.

%% Not by a call for each item that the rest waits for: an error (`is_new') costs with the depth of the stack.
new_ones([Name | Rest], Acc) ->
    case is_new(Name) of
        true -> new_ones(Rest, [Name | Acc]);
        false -> new_ones(Rest, Acc)
    end;
new_ones([], Acc) ->
    Acc.

refused(Count, Most) ->
    {refused,
        lists:flatten(
            io_lib:format("~ts atoms that this node does not have: Python may make ~w while it lives", [Count, Most])
        )}.

decode_spent(Frame, _New, node) ->
    decoded(Frame, [used]);
%% Who is not trusted gets the atoms, and nothing else that would stay: a function of a module that is not there is one.
decode_spent(Frame, New, _Budget) ->
    try
        lists:foreach(fun({Name, Encoding}) -> binary_to_atom(Name, Encoding) end, New),
        decoded(Frame, [safe, used])
    catch
        error:_ -> error
    end.

decoded(Frame, Options) ->
    try binary_to_term(Frame, Options) of
        Decoded -> whole(Decoded, Frame)
    catch
        error:_ -> error
    end.

is_new({Name, Encoding}) ->
    try binary_to_existing_atom(Name, Encoding) of
        _ -> false
    catch
        error:_ -> true
    end.

spend(New, Budget) -> spend_all(New, limits(Budget)).

%% What drivers spend counts for all of them together, too, of which something is left of the node's, and for the node.
%% What a sandboxed pool spends counts for all of them together, too, and what a session spends for all sessions: they come
%% and go, atoms stay.
limits(node) ->
    [{node, py_config:max_new_atoms()}];
limits({connection, _} = Budget) ->
    #{connection := Most, connections := MostOfAll} = py_config:max_connection_atoms(),
    [{Budget, Most}, {connections, MostOfAll}, {node, py_config:max_new_atoms()}];
limits({sandbox, _} = Budget) ->
    #{pool := Most, all := MostOfAll} = py_config:max_sandbox_atoms(),
    [{Budget, Most}, {sandbox, MostOfAll}];
limits({session, _} = Budget) ->
    #{session := Most, sessions := MostOfSessions, all := MostOfAll} = py_config:max_sandbox_atoms(),
    [{Budget, Most}, {sessions, MostOfSessions}, {sandbox, MostOfAll}].

%% From all of them or from none.
spend_all(_New, []) ->
    true;
spend_all(New, [{Budget, Most} | Rest]) ->
    case spend_of(New, Budget, Most) of
        true ->
            case spend_all(New, Rest) of
                true -> true;
                Refused -> atomics:sub(spent(Budget), 1, New), Refused
            end;
        Refused ->
            Refused
    end.

spend_of(New, Budget, Most) ->
    Spent = spent(Budget),
    case atomics:add_get(Spent, 1, New) =< Most of
        true ->
            true;
        false ->
            atomics:sub(Spent, 1, New),
            {false, Most}
    end.

%% It lives as long as the atoms; that of a session or a driver goes with it, and the sum of all of them stays. Two processes that make
%% one at the same time give each other a little more.
spent({Kind, Spent}) when Kind =:= session; Kind =:= connection ->
    Spent;
spent(Budget) ->
    case persistent_term:get({?MODULE, Budget}, undefined) of
        undefined ->
            Spent = atomics:new(1, []),
            persistent_term:put({?MODULE, Budget}, Spent),
            Spent;
        Spent ->
            Spent
    end.

%% @doc The names of all atoms in a term's bytes, once each, with their encodings; `error' where the bytes are no term. A
%% compressed term is not looked into.
-spec walk(binary()) -> {ok, [{binary(), latin1 | utf8}]} | error.
walk(Frame) ->
    case walk(Frame, infinity) of
        too_many -> error;
        Walked -> Walked
    end.

%% The same up to so many names.
walk(<<?VERSION, Bytes/binary>>, Most) ->
    try
        {_, Names} = walk(Bytes, 1, {Most, #{}}),
        {ok, [name(Key, Encoding) || {Key, Encoding} <- maps:to_list(Names)]}
    catch
        error:function_clause -> error;
        throw:too_many -> too_many
    end;
walk(_, _) ->
    error.

%% The same bytes can be two names.
name({Name, Encoding}, Encoding) -> {Name, Encoding};
name(Name, Encoding) -> {Name, Encoding}.

noted(Name, Encoding, {Most, Names} = Noted) ->
    case Names of
        #{Name := Encoding} -> Noted;
        #{Name := _} -> {Most, Names#{{Name, Encoding} => Encoding}};
        #{} when map_size(Names) >= Most -> throw(too_many);
        #{} -> {Most, Names#{Name => Encoding}}
    end.

%% `Missing' is the number of terms still to come: a term is followed by its parts.
%% (All clauses match on bytes: so the compiler keeps its place in them from one to the next.)
walk(<<_/binary>>, 0, Names) -> Names;
%% SMALL_INTEGER, INTEGER, NEW_FLOAT, FLOAT, NIL
walk(<<97, _, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
walk(<<98, _:32, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
walk(<<70, _:64, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
walk(<<99, _:31/binary, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
walk(<<106, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
%% A column of a table has one of these in each row.
walk(<<115, 4, "true", Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
walk(<<115, 5, "false", Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
walk(<<115, 9, "undefined", Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
%% ATOM, SMALL_ATOM, ATOM_UTF8, SMALL_ATOM_UTF8
walk(<<100, Size:16, Name:Size/binary, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, noted(Name, latin1, Names));
walk(<<115, Size, Name:Size/binary, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, noted(Name, latin1, Names));
walk(<<118, Size:16, Name:Size/binary, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, noted(Name, utf8, Names));
walk(<<119, Size, Name:Size/binary, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, noted(Name, utf8, Names));
%% STRING, BINARY, BIT_BINARY, SMALL_BIG, LARGE_BIG
walk(<<107, Size:16, _:Size/binary, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
walk(<<109, Size:32, _:Size/binary, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
walk(<<77, Size:32, _, _:Size/binary, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
walk(<<110, Size, _, _:Size/binary, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
walk(<<111, Size:32, _, _:Size/binary, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1, Names);
%% SMALL_TUPLE, LARGE_TUPLE, LIST, MAP
walk(<<104, Arity, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1 + Arity, Names);
walk(<<105, Arity:32, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1 + Arity, Names);
walk(<<108, Length:32, Rest/binary>>, Missing, Names) -> walk(Rest, Missing + Length, Names);
walk(<<116, Size:32, Rest/binary>>, Missing, Names) -> walk(Rest, Missing - 1 + 2 * Size, Names);
%% PID, NEW_PID, PORT, NEW_PORT, V4_PORT, REFERENCE, NEW_REFERENCE, NEWER_REFERENCE: a node's name first
walk(<<103, Rest/binary>>, Missing, Names) -> after_node(Rest, 9, Missing, Names);
walk(<<88, Rest/binary>>, Missing, Names) -> after_node(Rest, 12, Missing, Names);
walk(<<102, Rest/binary>>, Missing, Names) -> after_node(Rest, 5, Missing, Names);
walk(<<89, Rest/binary>>, Missing, Names) -> after_node(Rest, 8, Missing, Names);
walk(<<120, Rest/binary>>, Missing, Names) -> after_node(Rest, 12, Missing, Names);
walk(<<101, Rest/binary>>, Missing, Names) -> after_node(Rest, 5, Missing, Names);
walk(<<114, Words:16, Rest/binary>>, Missing, Names) -> after_node(Rest, 1 + 4 * Words, Missing, Names);
walk(<<90, Words:16, Rest/binary>>, Missing, Names) -> after_node(Rest, 4 + 4 * Words, Missing, Names);
%% EXPORT: module, function, arity. NEW_FUN and FUN: some terms, and the free variables
walk(<<113, Rest/binary>>, Missing, Names) -> walk(Rest, Missing + 2, Names);
walk(<<112, _Size:32, _Arity, _Uniq:16/binary, _Index:32, Free:32, Rest/binary>>, Missing, Names) ->
    walk(Rest, Missing + 3 + Free, Names);
walk(<<117, Free:32, Rest/binary>>, Missing, Names) -> walk(Rest, Missing + 3 + Free, Names).

after_node(<<100, Size:16, Name:Size/binary, Rest/binary>>, Bytes, Missing, Names) ->
    skip(Rest, Bytes, Missing, noted(Name, latin1, Names));
after_node(<<115, Size, Name:Size/binary, Rest/binary>>, Bytes, Missing, Names) ->
    skip(Rest, Bytes, Missing, noted(Name, latin1, Names));
after_node(<<118, Size:16, Name:Size/binary, Rest/binary>>, Bytes, Missing, Names) ->
    skip(Rest, Bytes, Missing, noted(Name, utf8, Names));
after_node(<<119, Size, Name:Size/binary, Rest/binary>>, Bytes, Missing, Names) ->
    skip(Rest, Bytes, Missing, noted(Name, utf8, Names)).

skip(Data, Bytes, Missing, Names) ->
    case Data of
        <<_:Bytes/binary, Rest/binary>> -> walk(Rest, Missing - 1, Names);
        _ -> error(function_clause)
    end.
