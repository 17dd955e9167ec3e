%%% @doc ErlPort's messages as bytes, and back. Pure: knows no process and no port.
%%%
%%% A frame is one term in the external term format (ERTS User's Guide, "External Term Format") behind its length in four
%%% bytes, as a port's `{packet, 4}' has it.
%%%
%%% ```
%%% > {'C', Id, Module, Function, Args}       call of Python
%%% > {'X', Id}                               that call is not wanted any more (an extension)
%%% > {'T', Number}                           the calls above that number are taken back (an extension)
%%% < {'r', Id, Value}                        its result
%%% < {'e', Id, Error}                        its exception
%%% > {'M', Message}                          a message for the message handler
%%% < {'e', Error}                            the message handler's exception
%%% < {'C', Id, Module, Function, Args, Ctx}  call of Erlang; Ctx 'N' (a new process) or 'L' (the port's owner); in a pool the
%%%                                           id of the call that asks, 0 for none of them, in place of 'N'
%%% > {'r', Id, Value} | {'e', Id, Error}     its answer
%%% < {'M', Pid, Message}                     a message to an Erlang process
%%% < {'P', Text}                             what user code printed
%%% '''
%%%
%%% A call is made in two steps, so that the caller pays for its own arguments and the worker process for none:
%%% {@link body/3} in the caller, {@link call/2} puts the id in front of it. {@link route/1} reads no more of an
%%% answer than its kind and its id.
%%% @private
-module(py_wire).

-export([version/0, body/3, kept/1, kept_terms/1, kept_bytes/1, around/4, keeps/2, mentions/2, call/2, framed_call/2, cancel/1, take_back/1, taken/1, message/1, result/2, failure/2, route/1]).
-export([arguments/1, answer/1, answer/2, request/1, request/2, is_compressed/1, is_result/1, raises/2]).
-export([frame/1, input/0, split/3, next/1, answers/1, next_answer/1, names/1, name/1]).
-export_type([body/0, kept/0, id/0, request/0, input/0]).

-type body() :: [binary()].
%% Module, function and arguments of a call, encoded.
-opaque kept() :: {Count :: non_neg_integer(), binary()}.
%% Terms, encoded, that will be the last elements of a list.
-opaque input() :: {Missing :: non_neg_integer(), [binary()]}.
%% The bytes of an incomplete frame, newest first, and how many are known to be missing.
-type id() :: 1..16#7fffffff.
-type request() ::
    {call, Id :: term(), module(), atom(), [term()], Context :: atom() | integer()}
    | {message, pid() | atom() | {atom(), node()}, term()}
    | {print, unicode:chardata()}
    | {handler_error, term()}.

-define(VERSION, 131).
-define(SMALL_INTEGER, 97).
-define(SMALL_BIG, 110).
-define(INTEGER, 98).
-define(ATOM, 100).
-define(SMALL_TUPLE, 104).
-define(STRING, 107).
-define(NIL, 106).
-define(LIST, 108).
-define(BINARY, 109).
-define(SMALL_ATOM, 115).
-define(SMALL_ATOM_UTF8, 119).
-define(LARGE_BYTES, 65_536).
%% Of an answer with a large number: all before its value.
-define(HEAD_BYTES, 11).
-define(SMALL_BYTES, 48).
%% Below it is cheaper to put the parts together once: the memory of both is there from the call before.
-define(LARGE_FRAME_BYTES, 8_388_608).

%% @doc The number of this wire, which both halves must agree on when a worker starts.
-spec version() -> pos_integer().
version() -> 1.

%% @doc The part of a call that does not depend on the worker. A large binary among the arguments is not copied.
%%
%% `minor_version' 1 writes an atom as ATOM_EXT where Latin-1 can: the one atom tag that every release and ErlPort's
%% Python read.
-spec body(module(), atom(), [term()]) -> body().
body(Module, Function, Args) ->
    case has_large(Args) of
        false ->
            <<?VERSION, ?SMALL_TUPLE, 3, Body/binary>> = term_to_binary({Module, Function, Args}, [{minor_version, 1}]),
            [Body];
        true ->
            [<<?VERSION, ?SMALL_TUPLE, 3, First/binary>> | Rest] =
                erlang:term_to_iovec({Module, Function, Args}, [{minor_version, 1}]),
            [First | Rest]
    end.

%% @doc Arguments that are encoded now, for a call that is made later, perhaps by another node: {@link around/4} makes its body.
-spec kept([term()]) -> kept().
kept(Terms) -> {length(Terms), << <<(bare_bytes(Term))/binary>> || Term <- Terms >>}.

%% @doc What was kept.
-spec kept_terms(kept()) -> [term()].
kept_terms({Count, Kept}) -> binary_to_term(<<?VERSION, ?LIST, Count:32, Kept/binary, ?NIL>>).

%% @doc A body whose last argument but one is a list: these elements, and what was kept; the last one is an empty list. That is a call
%% of the wrapper `call', with its mapping flags, module and function as `Before'.
-spec around({module(), atom()}, Before :: [term(), ...], First :: [term()], kept()) -> body().
around({Module, Function}, Before, First, {Count, Kept}) ->
    [iolist_to_binary([
        bare_bytes(Module), bare_bytes(Function), <<?LIST, (length(Before) + 2):32>>, [bare_bytes(Term) || Term <- Before],
        <<?LIST, (length(First) + Count):32>>, [bare_bytes(Term) || Term <- First], Kept, ?NIL, ?NIL, ?NIL
    ])].

-spec kept_bytes(kept()) -> non_neg_integer().
kept_bytes({_, Kept}) -> byte_size(Kept).

%% @doc Whether such a tuple may occur in what was kept: see {@link mentions/2}.
-spec keeps(kept(), {atom(), 0..255}) -> boolean().
keeps({_, Kept}, Shape) -> occurs([Kept], pattern(Shape)).

bare_bytes(Term) ->
    <<?VERSION, Bytes/binary>> = term_to_binary(Term, [{minor_version, 1}]),
    Bytes.

%% Worth three times the time that an I/O vector takes to make: where users put them, not at every depth.
has_large([Arg | Rest]) -> is_large(Arg) orelse has_large(Rest);
has_large([]) -> false.

is_large(Binary) when byte_size(Binary) > ?LARGE_BYTES -> true;
is_large({bytes, Binary}) when byte_size(Binary) > ?LARGE_BYTES -> true;
%% An array, `{"ndarray", {Dtype, Shape, Binary}}'.
is_large({_, {_, _, Binary}}) when byte_size(Binary) > ?LARGE_BYTES -> true;
is_large([Arg | Rest]) when is_binary(Arg); is_tuple(Arg) -> is_large(Arg) orelse is_large(Rest);
is_large(_) -> false.

%% @doc The arguments in a body that this module has made.
-spec arguments(body()) -> [term()].
arguments(Body) ->
    {_Module, _Function, Args} = binary_to_term(iolist_to_binary([<<?VERSION, ?SMALL_TUPLE, 3>> | Body])),
    Args.

%% @doc Whether a tuple of that size that begins with that atom may occur in the body. This costs a search at memory speed and no
%% second walk over the terms; a large binary in the arguments is an element of its own, and is not searched.
-spec mentions(body(), {atom(), 0..255}) -> boolean().
mentions(Body, Shape) -> occurs(Body, pattern(Shape)).

occurs([Part | Rest], Pattern) -> binary:match(Part, Pattern) =/= nomatch orelse occurs(without_content(Part, Rest), Pattern);
occurs([], _Pattern) -> false.

%% What follows a part of terms that ends with the head of a binary of just that size is its content: parts of terms and contents take
%% turns.
without_content(Part, [Content | Rest] = Parts) when byte_size(Part) >= 5 ->
    Size = byte_size(Content),
    case binary:part(Part, byte_size(Part), -5) of
        <<?BINARY, Size:32>> -> Rest;
        _ -> Parts
    end;
without_content(_Part, Parts) ->
    Parts.

%% The longer the pattern, the longer the steps of the search.
pattern({Atom, Size} = Shape) ->
    case persistent_term:get({?MODULE, Shape}, undefined) of
        undefined ->
            Name = atom_to_binary(Atom, latin1),
            Pattern = binary:compile_pattern(<<?SMALL_TUPLE, Size, ?ATOM, (byte_size(Name)):16, Name/binary>>),
            persistent_term:put({?MODULE, Shape}, Pattern),
            Pattern;
        Pattern ->
            Pattern
    end.

%% @doc A whole call frame.
-spec call(id(), body()) -> iodata().
call(Id, Body) ->
    [<<?VERSION, ?SMALL_TUPLE, 5, ?ATOM, 1:16, $C, ?INTEGER, Id:32>> | Body].

%% @doc A whole call frame behind its length.
-spec framed_call(id(), body()) -> iodata().
framed_call(Id, [Body]) ->
    [<<(byte_size(Body) + 12):32, ?VERSION, ?SMALL_TUPLE, 5, ?ATOM, 1:16, $C, ?INTEGER, Id:32>>, Body];
framed_call(Id, Body) ->
    frame(call(Id, Body)).

%% @doc Say that the call with this id is not wanted any more. An extension of ours: only for our Python.
-spec cancel(integer()) -> iodata().
cancel(Id) -> <<?VERSION, ?SMALL_TUPLE, 2, ?ATOM, 1:16, $X, ?INTEGER, Id:32>>.

%% @doc Ask for the call with this id back, where calls run in threads and it has not begun. Python answers with `$py.unbegun'.
-spec take_back(id()) -> iodata().
take_back(Id) -> cancel(-Id).

%% @doc Say that the calls with greater numbers that have been sent are taken back: see "Work that moves" in docs/architecture.md. An extension
%% of ours; always of the same length.
-spec taken(Above :: non_neg_integer()) -> iodata().
taken(Above) -> <<?VERSION, ?SMALL_TUPLE, 2, ?ATOM, 1:16, $T, ?SMALL_BIG, 8, 0, Above:64/little>>.

%% @doc A message for Python's message handler.
-spec message(term()) -> iodata().
message(Message) ->
    [<<?VERSION, ?SMALL_TUPLE, 2, ?ATOM, 1:16, $M>> | bare(erlang:term_to_iovec(Message))].

%% @doc The result of Python's own call.
-spec result(Id :: term(), term()) -> iodata().
result(Id, Value) -> erlang:term_to_iovec({r, Id, Value}).

%% @doc The failure of Python's own call. What an Erlang function raised is there twice: as values for Python, and as it
%% is, so that Python can give it back.
-spec failure(Id :: term(), term()) -> iodata().
failure(Id, {erlang, Class, Reason, Stack}) ->
    Itself = {'$erlport.opaque', erlang, term_to_binary({Class, Reason, Stack})},
    erlang:term_to_iovec({e, Id, {erlang, Class, Reason, Stack, Itself}});
failure(Id, Error) -> erlang:term_to_iovec({e, Id, Error}).

%% @doc Where a frame from Python goes: to the caller of `Id', or, as a request, to the port's owner. Reads the
%% frame's head only.
-spec route(binary()) -> {answer, id()} | request.
route(<<?VERSION, ?SMALL_TUPLE, 3, ?SMALL_ATOM_UTF8, 1, Kind, Rest/binary>>) -> answer_of(Kind, Rest);
route(<<?VERSION, ?SMALL_TUPLE, 3, ?ATOM, 1:16, Kind, Rest/binary>>) -> answer_of(Kind, Rest);
route(<<?VERSION, ?SMALL_TUPLE, 3, ?SMALL_ATOM, 1, Kind, Rest/binary>>) -> answer_of(Kind, Rest);
route(<<?VERSION, $P, _/binary>> = Compressed) ->
    case py_atoms:decode(Compressed) of
        {ok, {Kind, Id, _}} when Kind =:= r orelse Kind =:= e, is_integer(Id) -> {answer, Id};
        _ -> request
    end;
route(_) ->
    request.

answer_of(Kind, <<?SMALL_INTEGER, Id, _/binary>>) when Kind =:= $r; Kind =:= $e -> {answer, Id};
answer_of(Kind, <<?INTEGER, Id:32, _/binary>>) when Kind =:= $r; Kind =:= $e -> {answer, Id};
answer_of(_, _) -> request.

%% @doc Whether a frame is a compressed term, which ErlPort's Python sends where it is asked to.
-spec is_compressed(binary()) -> boolean().
is_compressed(<<?VERSION, $P, _/binary>>) -> true;
is_compressed(_) -> false.

%% @doc Whether an answer's frame is the result of a call, and no exception; of a compressed one that is not looked at.
-spec is_result(binary()) -> boolean().
is_result(<<?VERSION, ?SMALL_TUPLE, 3, ?SMALL_ATOM_UTF8, 1, $r, _/binary>>) -> true;
is_result(<<?VERSION, ?SMALL_TUPLE, 3, ?ATOM, 1:16, $r, _/binary>>) -> true;
is_result(<<?VERSION, ?SMALL_TUPLE, 3, ?SMALL_ATOM, 1, $r, _/binary>>) -> true;
is_result(_) -> false.

%% @doc Whether an answer's frame is an exception of one of these classes, as its head says: `{'e', Id, {python, Class, ...}}'. Of a
%% compressed one that is not looked at.
-spec raises(binary(), [Class :: binary()]) -> boolean().
raises(<<?VERSION, ?SMALL_TUPLE, 3, Rest/binary>>, Classes) ->
    case named(Rest) of
        {<<"e">>, <<?SMALL_INTEGER, _, Error/binary>>} -> is_of(Error, Classes);
        {<<"e">>, <<?INTEGER, _:32, Error/binary>>} -> is_of(Error, Classes);
        _ -> false
    end;
raises(_, _) ->
    false.

is_of(<<?SMALL_TUPLE, 4, Error/binary>>, Classes) ->
    case named(Error) of
        {<<"python">>, Rest} ->
            case named(Rest) of
                {Class, _} -> lists:member(Class, Classes);
                none -> false
            end;
        _ ->
            false
    end;
is_of(_, _) ->
    false.

%% The atom that bytes begin with.
named(<<?SMALL_ATOM_UTF8, Size, Name:Size/binary, Rest/binary>>) -> {Name, Rest};
named(<<?SMALL_ATOM, Size, Name:Size/binary, Rest/binary>>) -> {Name, Rest};
named(<<?ATOM, Size:16, Name:Size/binary, Rest/binary>>) -> {Name, Rest};
named(_) -> none.

%% @doc The value or the error in an answer frame; `refused' when it would make too many atoms, `error' when it can't be
%% read.
-spec answer(binary()) -> {ok, term()} | {error, term()} | {refused, string()} | error.
answer(Frame) -> answer(Frame, node).

%% @doc The same with new atoms from this budget.
-spec answer(binary(), py_atoms:budget()) -> {ok, term()} | {error, term()} | {refused, string()} | error.
%% A small result without its head: to look up the atom there takes as long as all the rest, and callers meet at its lock.
answer(<<?VERSION, ?SMALL_TUPLE, 3, ?SMALL_ATOM_UTF8, 1, $r, ?INTEGER, _:32, Tag, Value/binary>>, Budget) when
    Tag =/= $P, byte_size(Value) =< ?SMALL_BYTES
->
    case py_atoms:decode(<<?VERSION, Tag, Value/binary>>, Budget) of
        {ok, _} = Result -> Result;
        {refused, _} = Refused -> Refused;
        error -> error
    end;
answer(<<?VERSION, ?SMALL_TUPLE, 3, ?SMALL_ATOM_UTF8, 1, $r, ?INTEGER, _:32, ?BINARY, Size:32, Bytes:Size/binary>> = Frame, _Budget) when
    Size > ?LARGE_BYTES
->
    {ok, alone(Bytes, Frame)};
answer(<<?VERSION, ?SMALL_TUPLE, 3, ?SMALL_ATOM_UTF8, 1, $r, ?SMALL_INTEGER, _, ?BINARY, Size:32, Bytes:Size/binary>> = Frame, _Budget) when
    Size > ?LARGE_BYTES
->
    {ok, alone(Bytes, Frame)};
answer(Frame, Budget) ->
    case py_atoms:decode(Frame, Budget) of
        {ok, {r, _Id, Value}} -> {ok, Value};
        {ok, {e, _Id, Error}} -> {error, Error};
        {refused, _} = Refused -> Refused;
        _ -> error
    end.

%% A large result is not copied where it is nearly all that its frame keeps.
alone(Bytes, Frame) ->
    case binary:referenced_byte_size(Frame) - byte_size(Bytes) of
        Rest when Rest =< ?LARGE_BYTES -> Bytes;
        _ -> binary:copy(Bytes)
    end.

%% @doc What Python asks of Erlang in a frame that is no answer; `error' when it can't be read, or would make too many atoms.
-spec request(binary()) -> request() | error.
request(Frame) -> request(Frame, node).

%% @doc The same with new atoms from this budget.
-spec request(binary(), py_atoms:budget()) -> request() | error.
request(Frame, Budget) ->
    case py_atoms:decode(Frame, Budget) of
        {ok, Term} -> request_of(Term);
        _ -> error
    end.

%% @doc A term's bytes with their length in front.
-spec frame(iodata()) -> iodata().
frame(Term) -> [<<(iolist_size(Term)):32>> | Term].

%% @doc No bytes yet.
-spec input() -> input().
input() -> {0, []}.

%% @doc The frames that more bytes complete, as they came, each behind its length: {@link next/1} gives one. `{error, Head}' where
%% a frame does not begin as a term does, or is longer than this: these bytes were never meant for us.
-spec split(binary(), input(), MostBytes :: pos_integer() | infinity) ->
    {ok, Frames :: binary(), input()} | {error, Head :: binary()}.
split(Data, {Missing, Parts}, _Most) when byte_size(Data) < Missing ->
    {ok, <<>>, {Missing - byte_size(Data), more(Data, Parts, Missing)}};
split(Data, {_, []}, Most) ->
    split_at(0, Data, Most);
split(Data, {Missing, Parts}, Most) ->
    [Whole | Earlier] = more(Data, Parts, Missing),
    split_at(0, case Earlier of [] -> Whole; _ -> iolist_to_binary(lists:reverse(Earlier, [Whole])) end, Most).

%% The parts of a large frame are added to one binary, which grows in place: they are garbage at once, and the next ones take
%% their memory.
more(Data, [Part], Missing) when byte_size(Part) + Missing > ?LARGE_FRAME_BYTES -> [<<Part/binary, Data/binary>>];
more(Data, Parts, _Missing) -> [Data | Parts].

%% One match context for all of them: no garbage is made of a frame.
split_at(At, Data, Most) -> split_at(Data, At, Data, Most).

split_at(<<>>, _At, Data, _Most) ->
    {ok, Data, input()};
split_at(<<Length:32, ?VERSION, Rest/binary>>, At, Data, Most) when Length > 0, Length =< Most ->
    split_behind(Rest, Length - 1, At, Data, Most);
split_at(_, At, Data, _Most) when byte_size(Data) - At < 5 ->
    {ok, binary:part(Data, 0, At), {At + 5 - byte_size(Data), [rest(At, Data)]}};
split_at(_, At, Data, _Most) ->
    {error, binary:part(Data, At, min(64, byte_size(Data) - At))}.

split_behind(Rest, Skip, At, Data, Most) ->
    case Rest of
        <<_:Skip/binary, Next/binary>> -> split_at(Next, At + Skip + 5, Data, Most);
        <<_/binary>> -> {ok, binary:part(Data, 0, At), {At + Skip + 5 - byte_size(Data), [rest(At, Data)]}}
    end.

rest(At, Data) -> binary:part(Data, At, byte_size(Data) - At).

%% @doc The first of some frames, where it goes, and the others.
-spec next(Frames :: binary()) -> {{answer, id()} | request, Frame :: binary(), Frames :: binary()}.
next(<<Length:32, Frame:Length/binary, Rest/binary>>) -> {route(Frame), Frame, Rest}.

%% @doc How many answers stand first among some frames, as our Python writes them, and what stands behind them: it may begin with one, too.
-spec answers(Frames :: binary()) -> {Count :: non_neg_integer(), Frames :: binary()}.
answers(Frames) -> answers(Frames, 0, 0, Frames).

answers(<<Length:32, ?VERSION, ?SMALL_TUPLE, 3, ?SMALL_ATOM_UTF8, 1, Kind, ?INTEGER, _:32, Rest/binary>>, Count, At, Frames) when
    Length >= ?HEAD_BYTES, Kind =:= $r orelse Kind =:= $e
->
    answers(Rest, Length - ?HEAD_BYTES, Count, At + 4 + Length, Frames);
answers(_, Count, At, Frames) ->
    {Count, rest(At, Frames)}.

answers(Rest, Skip, Count, Next, Frames) ->
    <<_:Skip/binary, Behind/binary>> = Rest,
    answers(Behind, Count + 1, Next, Frames).

%% @doc The first of some frames, if it is an answer: its call, whether it is a result and no exception, and the others.
-spec next_answer(Frames :: binary()) -> {id(), IsResult :: boolean(), Frame :: binary(), Frames :: binary()} | none.
next_answer(<<Length:32, ?VERSION, ?SMALL_TUPLE, 3, ?SMALL_ATOM_UTF8, 1, $r, ?INTEGER, Id:32, _/binary>> = Frames) when Length >= ?HEAD_BYTES ->
    <<_:32, Frame:Length/binary, Rest/binary>> = Frames,
    {Id, true, Frame, Rest};
next_answer(Frames) ->
    case next(Frames) of
        {{answer, Id}, Frame, Rest} -> {Id, is_result(Frame), Frame, Rest};
        {request, _, _} -> none
    end.

-define(NAMES_BYTES, 512).
-define(MOST_NAME_BYTES, 200).

%% @doc As much of an encoded call as {@link name/1} needs.
-spec names(body()) -> binary().
names([Bytes | _]) when byte_size(Bytes) =< ?NAMES_BYTES -> Bytes;
names([Bytes | _]) -> binary:copy(binary:part(Bytes, 0, ?NAMES_BYTES)).

%% @doc What it calls, for people: `module:function', of a wrapper what that is told to call.
-spec name(binary()) -> binary().
name(Bytes) ->
    case spelled(Bytes) of
        {<<"erl.calls.objects">>, Rest} -> visible(wrapped(spelled(Rest)));
        {Module, Rest} -> visible(joined(Module, spelled(Rest)));
        none -> <<"?">>
    end.

joined(Module, {Function, _}) when Function =/= <<"undefined">> -> <<Module/binary, $:, Function/binary>>;
joined(Module, _) -> Module.

%% The flags of the mapping are the first of its arguments.
wrapped({Entry, <<?LIST, _:32, ?SMALL_INTEGER, _, Args/binary>>}) -> told(Entry, spelled(Args));
wrapped({Entry, <<?LIST, _:32, ?INTEGER, _:32, Args/binary>>}) -> told(Entry, spelled(Args));
wrapped({Entry, _}) -> Entry;
wrapped(none) -> <<"?">>.

%% A call that carries a trace names what it is of behind.
told(<<"call">>, {<<"erl.calls.tracing">>, Rest}) -> traced(spelled(Rest));
told(<<"call">>, {Module, Rest}) -> joined(Module, spelled(Rest));
told(Entry, {Name, _}) -> <<Entry/binary, " ", Name/binary>>;
told(Entry, none) -> Entry.

traced({_, <<?LIST, _:32, Args/binary>>}) ->
    case spelled(Args) of
        {Entry, <<?LIST, _:32, Inner/binary>>} -> told(Entry, spelled(Inner));
        _ -> <<"?">>
    end;
traced(_) ->
    <<"?">>.

spelled(<<?BINARY, Size:32, Name:Size/binary, Rest/binary>>) -> {Name, Rest};
spelled(<<?STRING, Size:16, Name:Size/binary, Rest/binary>>) -> {Name, Rest};
spelled(Bytes) -> named(Bytes).

%% What comes from a caller is shown as text, and not all of it.
visible(Name) ->
    Cut = binary:part(Name, 0, min(byte_size(Name), ?MOST_NAME_BYTES)),
    case unicode:characters_to_list(Cut) of
        Text when is_list(Text) -> unicode:characters_to_binary([if C < 32; C =:= 127 -> $?; true -> C end || C <- Text]);
        {_, Text, _} -> unicode:characters_to_binary([if C < 32; C =:= 127 -> $?; true -> C end || C <- Text])
    end.

request_of({'C', Id, M, F, A, Context}) when is_atom(M), is_atom(F), length(A) >= 0 -> {call, Id, M, F, A, Context};
request_of({'M', To, Message}) -> {message, To, Message};
request_of({'P', Text}) -> {print, Text};
request_of({e, Error}) -> {handler_error, Error};
request_of(_) -> error.

bare([<<?VERSION, First/binary>> | Rest]) -> [First | Rest].
