%%% @doc What bytes of the external term format would become, before they become it. Pure.
%%%
%%% A frame of somebody who is not trusted is walked over first (ERTS User's Guide, "External Term Format"). A term can take
%%% sixteen times the bytes that it came in; and some kinds of terms leave something behind in the emulator that is not on the
%%% heap: a handle of another node an entry in its table of nodes, a function of a module an entry that is never given back.
%%% @private
-module(py_etf).

-export([look/2, is_term/1, own_node/0]).
-export_type([handle/0, node_key/0]).

-type node_key() :: {Name :: binary(), Creation :: non_neg_integer()}.
%% One run of a node, by its name in UTF-8.
-type handle() :: function | {pid | port | reference, node_key()}.
%% What is no value, by its kind and by whose it is.

-define(VERSION, 131).
%% More than there is room for.
-define(MOST_WORDS, 16#fffffffffffff).
%% Of different handles so many are noted; who sends more of them has made them up.
-define(MOST_HANDLES, 64).

%% @doc How many words the term in a frame takes on a heap, at the most, and which handles are in it. `too_large' where that
%% would be more than this; `too_many_handles' where they are of more than 64 runs of nodes; `unreadable' where the bytes are no
%% term, or a compressed one.
-spec look(binary(), MostWords :: integer()) ->
    {ok, Words :: non_neg_integer(), [handle()]} | {error, too_large | too_many_handles | unreadable}.
look(<<?VERSION, Bytes/binary>>, MostWords) ->
    case walk(Bytes, 1, MostWords, #{}) of
        {ok, Left, Handles} -> {ok, MostWords - Left, maps:keys(Handles)};
        Error -> Error
    end;
look(_, _) ->
    {error, unreadable}.

%% @doc Whether bytes without the version's are one term, however large.
-spec is_term(binary()) -> boolean().
is_term(Bytes) ->
    case walk(Bytes, 1, ?MOST_WORDS, #{}) of
        {ok, _, _} -> true;
        {error, _} -> false
    end.

%% @doc This node, as its handles have it.
-spec own_node() -> node_key().
own_node() ->
    %% NEW_PID: the node's name, then twelve bytes, of which the last four are the creation.
    <<?VERSION, 88, Bytes/binary>> = term_to_binary(self()),
    {Name, <<_:8/binary, Creation:32>>} = node_name(Bytes),
    {Name, Creation}.

%% `Missing' is the number of terms still to come, `Words' what they may take.
%% (All clauses match on bytes: so the compiler keeps its place in them from one to the next.)
walk(<<_/binary>>, _, Words, _) when Words < 0 -> {error, too_large};
walk(<<>>, 0, Words, Handles) -> {ok, Words, Handles};
%% SMALL_INTEGER, INTEGER, NIL, NEW_FLOAT, FLOAT
walk(<<97, _, Rest/binary>>, Missing, Words, Handles) -> walk(Rest, Missing - 1, Words, Handles);
walk(<<98, _:32, Rest/binary>>, Missing, Words, Handles) -> walk(Rest, Missing - 1, Words, Handles);
walk(<<106, Rest/binary>>, Missing, Words, Handles) -> walk(Rest, Missing - 1, Words, Handles);
walk(<<70, _:64, Rest/binary>>, Missing, Words, Handles) -> walk(Rest, Missing - 1, Words - 2, Handles);
walk(<<99, _:31/binary, Rest/binary>>, Missing, Words, Handles) -> walk(Rest, Missing - 1, Words - 2, Handles);
%% SMALL_TUPLE, LARGE_TUPLE, LIST, MAP
walk(<<104, Arity, Rest/binary>>, Missing, Words, Handles) -> walk(Rest, Missing - 1 + Arity, Words - 1 - Arity, Handles);
walk(<<105, Arity:32, Rest/binary>>, Missing, Words, Handles) -> walk(Rest, Missing - 1 + Arity, Words - 1 - Arity, Handles);
walk(<<108, Length:32, Rest/binary>>, Missing, Words, Handles) -> walk(Rest, Missing + Length, Words - 2 * Length, Handles);
walk(<<116, Size:32, Rest/binary>>, Missing, Words, Handles) ->
    walk(Rest, Missing - 1 + 2 * Size, Words - 4 * Size - 8, Handles);
%% STRING, BINARY, BIT_BINARY, SMALL_BIG, LARGE_BIG
walk(<<107, Size:16, _:Size/binary, Rest/binary>>, Missing, Words, Handles) ->
    walk(Rest, Missing - 1, Words - 2 * Size, Handles);
walk(<<109, Size:32, _:Size/binary, Rest/binary>>, Missing, Words, Handles) -> walk(Rest, Missing - 1, Words - 12, Handles);
walk(<<77, Size:32, _, _:Size/binary, Rest/binary>>, Missing, Words, Handles) ->
    walk(Rest, Missing - 1, Words - 16, Handles);
walk(<<110, Size, _, _:Size/binary, Rest/binary>>, Missing, Words, Handles) ->
    walk(Rest, Missing - 1, Words - 2 - Size div 8, Handles);
walk(<<111, Size:32, _, _:Size/binary, Rest/binary>>, Missing, Words, Handles) ->
    walk(Rest, Missing - 1, Words - 2 - Size div 8, Handles);
%% SMALL_ATOM, SMALL_ATOM_UTF8, ATOM, ATOM_UTF8
walk(<<Tag, Size, _:Size/binary, Rest/binary>>, Missing, Words, Handles) when Tag =:= 115; Tag =:= 119 ->
    walk(Rest, Missing - 1, Words, Handles);
walk(<<Tag, Size:16, _:Size/binary, Rest/binary>>, Missing, Words, Handles) when Tag =:= 100; Tag =:= 118 ->
    walk(Rest, Missing - 1, Words, Handles);
%% NEW_PID, PID, V4_PORT, NEW_PORT, PORT: after the node's name so many bytes, then the creation
walk(<<88, Rest/binary>>, Missing, Words, Handles) -> handle(pid, Rest, 8, 32, Missing, Words, Handles);
walk(<<103, Rest/binary>>, Missing, Words, Handles) -> handle(pid, Rest, 8, 8, Missing, Words, Handles);
walk(<<120, Rest/binary>>, Missing, Words, Handles) -> handle(port, Rest, 8, 32, Missing, Words, Handles);
walk(<<89, Rest/binary>>, Missing, Words, Handles) -> handle(port, Rest, 4, 32, Missing, Words, Handles);
walk(<<102, Rest/binary>>, Missing, Words, Handles) -> handle(port, Rest, 4, 8, Missing, Words, Handles);
%% NEWER_REFERENCE, NEW_REFERENCE: after the creation so many words; REFERENCE
walk(<<90, Length:16, Rest/binary>>, Missing, Words, Handles) -> reference(Rest, 32, Length, Missing, Words, Handles);
walk(<<114, Length:16, Rest/binary>>, Missing, Words, Handles) -> reference(Rest, 8, Length, Missing, Words, Handles);
walk(<<101, Rest/binary>>, Missing, Words, Handles) -> handle(reference, Rest, 4, 8, Missing, Words, Handles);
%% EXPORT: module, function, arity. NEW_FUN: some terms, and the free variables
walk(<<113, Rest/binary>>, Missing, Words, Handles) -> walk(Rest, Missing + 2, Words - 8, Handles#{function => []});
walk(<<112, _:32, _, _:16/binary, _:32, Free:32, Rest/binary>>, Missing, Words, Handles) ->
    walk(Rest, Missing + 3 + Free, Words - 8 - Free, Handles#{function => []});
walk(<<_/binary>>, _, _, _) ->
    {error, unreadable}.

handle(Kind, Bytes, Before, CreationBits, Missing, Words, Handles) ->
    case node_name(Bytes) of
        {Name, <<_:Before/binary, Creation:CreationBits, Rest/binary>>} ->
            noted({Kind, {Name, Creation}}, Rest, Missing, Words - 6, Handles);
        _ ->
            {error, unreadable}
    end.

reference(Bytes, CreationBits, Length, Missing, Words, Handles) ->
    case node_name(Bytes) of
        {Name, <<Creation:CreationBits, _:Length/binary-unit:32, Rest/binary>>} ->
            noted({reference, {Name, Creation}}, Rest, Missing, Words - 4 - Length, Handles);
        _ ->
            {error, unreadable}
    end.

noted(Handle, Rest, Missing, Words, Handles) ->
    case Handles#{Handle => []} of
        Noted when map_size(Noted) > ?MOST_HANDLES -> {error, too_many_handles};
        Noted -> walk(Rest, Missing - 1, Words, Noted)
    end.

node_name(<<115, Size, Name:Size/binary, Rest/binary>>) -> {from_latin1(Name), Rest};
node_name(<<119, Size, Name:Size/binary, Rest/binary>>) -> {Name, Rest};
node_name(<<100, Size:16, Name:Size/binary, Rest/binary>>) -> {from_latin1(Name), Rest};
node_name(<<118, Size:16, Name:Size/binary, Rest/binary>>) -> {Name, Rest};
node_name(_) -> error.

from_latin1(Name) -> unicode:characters_to_binary(Name, latin1).
