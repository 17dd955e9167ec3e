%%% @doc Terms made short enough for people: what a stack or a report shows of them. Pure.
%%%
%%% What is small stays as it is. In what is large the parts that come first stay, and the rest is left out where it was: a binary
%%% and a string end in `...', a list in the element `'...'', a map has the key `'...'', an element of a tuple that has no room is
%%% `'...''. No more of a term is looked at than is shown, whatever its size.
%%%
%%% ```
%%% {bytes, <<0:16777216>>}     {bytes, <<"... (2097152 bytes)">>}
%%% lists:seq(1, 1_000_000)     [1, 2, 3, ..., 128, '...']
%%% '''
%%% @private
-module(py_excerpt).

-export([arguments/1, term/1, stack/1, status/1]).

%% How much is shown, in the characters that it takes, more or less.
-define(CHARACTERS, 512).
-define(STATE_CHARACTERS, 4_096).
%% What stands in front of the size of a binary that does not fit.
-define(HEAD_BYTES, 64).
-define(MOST_ELEMENTS, 16).
-define(LEFT_OUT, '...').

%% @doc The arguments of a function, each as {@link term/1}.
-spec arguments([term()]) -> [term()].
arguments(Args) -> [term(Arg) || Arg <- Args].

%% @doc The frames of a stack, whose arguments are as {@link arguments/1}.
-spec stack([tuple()]) -> [tuple()].
stack(Stack) ->
    [
        case Frame of
            {M, F, Args, Info} when length(Args) >= 0 -> {M, F, arguments(Args), Info};
            _ -> Frame
        end
     || Frame <- Stack
    ].

%% @doc What a `gen_server' says of itself (its `format_status/1') when it fails or is asked for its status.
-spec status(Status) -> Status when Status :: #{atom() => term()}.
status(Status) ->
    maps:map(
        fun
            (reason, {Reason, [{_, _, _, _} | _] = Stack}) -> {term(Reason), stack(Stack)};
            (_, Term) -> term(Term, ?STATE_CHARACTERS)
        end,
        Status
    ).

%% @doc A term in some hundred characters.
-spec term(term()) -> term().
term(Term) -> term(Term, ?CHARACTERS).

term(Term, Characters) ->
    {Short, _} = cut(Term, Characters),
    Short.

%% The term as it is shown, and how much may be shown besides.
cut(Term, Left) when Left =< 0, not is_atom(Term), Term =/= [] -> {?LEFT_OUT, Left};
cut(Term, Left) when is_bitstring(Term) -> cut_bits(Term, Left);
cut([], Left) -> {[], Left - 2};
cut([_ | _] = List, Left) -> cut_list(List, Left);
cut(Tuple, Left) when is_tuple(Tuple) -> cut_tuple(1, Tuple, Left - 2, []);
cut(Map, Left) when is_map(Map) -> cut_map(Map, Left);
cut(Integer, Left) when is_integer(Integer) -> cut_integer(Integer, Left);
cut(Fun, Left) when is_function(Fun) -> cut_function(Fun, Left);
cut(Float, Left) when is_float(Float) -> {Float, Left - 18};
%% An atom is as long as its name, and was there before.
cut(Atom, Left) when is_atom(Atom) -> {Atom, Left - 8};
cut(Other, Left) -> {Other, Left - 10}.

cut_bits(Bits, Left) when bit_size(Bits) =< 8 * Left ->
    %% One that is part of a large one would keep that.
    {binary_copy(Bits), Left - byte_size(Bits) - 4};
cut_bits(Bits, Left) ->
    Size = io_lib:format("... (~w bytes)", [byte_size(Bits)]),
    {unicode:characters_to_binary([head(Bits, min(Left, ?HEAD_BYTES)), Size]), Left - ?HEAD_BYTES}.

binary_copy(Binary) when is_binary(Binary) -> binary:copy(Binary);
binary_copy(Bits) -> Bits.

%% Its first characters, where it is text.
head(Bits, Length) ->
    <<Bytes:Length/binary, _/bitstring>> = Bits,
    Text =
        case unicode:characters_to_list(Bytes) of
            {incomplete, Characters, _} -> Characters;
            Characters -> Characters
        end,
    case is_list(Text) andalso io_lib:printable_unicode_list(Text) of
        true -> Text;
        false -> ""
    end.

cut_integer(Integer, Left) ->
    case erts_debug:flat_size(Integer) * erlang:system_info(wordsize) of
        Bytes when Bytes =< 16; Bytes =< Left div 3 -> {Integer, Left - 2 - 2 * Bytes};
        Bytes -> {iolist_to_binary(io_lib:format("... (an integer of ~w bytes)", [Bytes])), Left - 32}
    end.

%% A character of a string takes one, an element of another list what it takes and a comma.
cut_list(List, Left) ->
    case string(List, Left, []) of
        {text, _, Less} -> {List, Less};
        {begun, Characters} -> {lists:reverse(Characters, "..."), 0};
        none -> cut_elements(List, Left - 2, [])
    end.

string([Character | Rest], Left, Begun) when is_integer(Character), Character >= 0, Character =< 16#10ffff, Left > 0 ->
    string(Rest, Left - 1, [Character | Begun]);
string([], Left, Begun) ->
    of_characters({text, [], Left - 2}, Begun);
string([Character | _], Left, Begun) when is_integer(Character), Left =< 0 ->
    of_characters({begun, Begun}, Begun);
string(_, _, _) ->
    none.

of_characters(Found, Begun) ->
    case io_lib:printable_unicode_list(Begun) of
        true -> Found;
        false -> none
    end.

cut_elements([Element | Rest], Left, Shown) when Left > 0 ->
    {Short, Less} = cut(Element, Left - 1),
    cut_elements(Rest, Less, [Short | Shown]);
cut_elements([], Left, Shown) ->
    {lists:reverse(Shown), Left};
cut_elements([_ | _], Left, Shown) ->
    {lists:reverse(Shown, [?LEFT_OUT]), Left};
%% The tail of an improper list.
cut_elements(Tail, Left, Shown) ->
    {Short, Less} = cut(Tail, Left),
    {lists:reverse(Shown, Short), Less}.

cut_tuple(Place, Tuple, Left, Shown) when Place > tuple_size(Tuple) ->
    {list_to_tuple(lists:reverse(Shown)), Left};
cut_tuple(Place, Tuple, Left, Shown) when Left =< 0, tuple_size(Tuple) > ?MOST_ELEMENTS, Place =< tuple_size(Tuple) ->
    {list_to_tuple(lists:reverse(Shown, [?LEFT_OUT])), Left};
cut_tuple(Place, Tuple, Left, Shown) ->
    {Short, Less} = cut(element(Place, Tuple), Left - 1),
    cut_tuple(Place + 1, Tuple, Less, [Short | Shown]).

%% A struct of Elixir's that lacks some of its keys can't be shown as one.
cut_map(#{'__struct__' := Module} = Struct, Left) ->
    case cut_pairs(maps:next(maps:iterator(Struct)), Left - 3, #{}) of
        {Struct, Less} -> {Struct, Less};
        {_, Less} -> {{Module, ?LEFT_OUT}, Less}
    end;
cut_map(Map, Left) ->
    cut_pairs(maps:next(maps:iterator(Map)), Left - 3, #{}).

cut_pairs(none, Left, Shown) ->
    {Shown, Left};
cut_pairs(_, Left, Shown) when Left =< 0 ->
    {Shown#{?LEFT_OUT => ?LEFT_OUT}, Left};
cut_pairs({Key, Value, Next}, Left, Shown) ->
    {ShortKey, Less} = cut(Key, Left - 5),
    {ShortValue, Least} = cut(Value, Less),
    cut_pairs(maps:next(Next), Least, Shown#{ShortKey => ShortValue}).

%% What a fun holds is not shown, and travels with it.
cut_function(Fun, Left) ->
    {env, Held} = erlang:fun_info(Fun, env),
    case cut(Held, ?CHARACTERS) of
        {Held, _} -> {Fun, Left - 30};
        _ -> {list_to_binary(erlang:fun_to_list(Fun)), Left - 30}
    end.
