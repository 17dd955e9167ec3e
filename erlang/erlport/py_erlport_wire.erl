%%% @doc Messages as ErlPort's Erlang side writes them. Pure.
%%%
%%% They are those of {@link py_wire}, spelled so that ErlPort's own Python (0.10.1 and later) reads them: atoms as ATOM_EXT
%%% where Latin-1 can (ERTS external term format, tag 100), maps as maps, and what that Python has no type for wrapped:
%%% `{'$erlport.opaque', erlang, Bytes}', the term's bytes without the version byte. Pids, references, ports, funs and bit
%%% strings are wrapped, at any depth, also in a key. Python sends them back bare.
%%% @private
-module(py_erlport_wire).

-export([body/3, call/2, message/1, result/2, failure/2, compress/2]).

-define(VERSION, 131).
-define(COMPRESSED, 80).

%% @doc The part of a call that does not depend on its id.
-spec body(module(), atom(), [term()]) -> py_wire:body().
body(Module, Function, Args) -> py_wire:body(Module, Function, wrap(Args)).

%% @doc A whole call.
-spec call(py_wire:id(), py_wire:body()) -> iodata().
call(Id, Body) ->
    <<?VERSION, Number/binary>> = term_to_binary(Id),
    [<<?VERSION, 104, 5, 100, 1:16, $C, Number/binary>> | Body].

%% @doc A message for Python's message handler.
-spec message(term()) -> iodata().
message(Message) -> encode({'M', wrap(Message)}).

%% @doc The result of Python's own call.
-spec result(Id :: term(), term()) -> iodata().
result(Id, Value) -> encode({r, Id, wrap(Value)}).

%% @doc The failure of Python's own call: `{erlang, Class, Reason, Stack}', or the reason itself where that is such a term of
%% another language, as of an exception of Python that passed through Erlang.
-spec failure(Id :: term(), term()) -> iodata().
failure(Id, {erlang, error, {Language, Class, _, Trace} = Error, _}) when is_atom(Language), is_atom(Class), is_list(Trace) ->
    encode({e, Id, wrap(Error)});
failure(Id, Error) ->
    encode({e, Id, wrap(Error)}).

%% @doc The same term as a compressed one (tag 80) where that is shorter; level 0 leaves it.
-spec compress(iodata(), Level :: 0..9) -> iodata().
compress(Frame, 0) ->
    Frame;
compress(Frame, Level) ->
    <<?VERSION, Term/binary>> = iolist_to_binary(Frame),
    Deflated = deflate(Term, Level),
    case byte_size(Deflated) + 5 < byte_size(Term) of
        true -> [<<?VERSION, ?COMPRESSED, (byte_size(Term)):32>>, Deflated];
        false -> [<<?VERSION>>, Term]
    end.

deflate(Data, Level) ->
    Stream = zlib:open(),
    try
        ok = zlib:deflateInit(Stream, Level),
        iolist_to_binary(zlib:deflate(Stream, Data, finish))
    after
        zlib:close(Stream)
    end.

encode(Term) -> term_to_binary(Term, [{minor_version, 1}]).

%% A term that needs no wrapping is not built anew.
wrap(Term) ->
    case is_bare(Term) of
        true -> Term;
        false -> wrapped(Term)
    end.

is_bare([Head | Tail]) -> is_bare(Head) andalso is_bare(Tail);
is_bare(Tuple) when is_tuple(Tuple) -> all_bare(Tuple, tuple_size(Tuple));
is_bare(Map) when is_map(Map) -> are_bare(maps:next(maps:iterator(Map)));
is_bare(Term) -> is_number(Term) orelse is_atom(Term) orelse is_binary(Term) orelse Term =:= [].

all_bare(_Tuple, 0) -> true;
all_bare(Tuple, N) -> is_bare(element(N, Tuple)) andalso all_bare(Tuple, N - 1).

are_bare(none) -> true;
are_bare({Key, Value, Next}) -> is_bare(Key) andalso is_bare(Value) andalso are_bare(maps:next(Next)).

wrapped([Head | Tail]) ->
    [wrapped(Head) | wrapped(Tail)];
wrapped(Tuple) when is_tuple(Tuple) ->
    list_to_tuple([wrapped(Element) || Element <- tuple_to_list(Tuple)]);
wrapped(Map) when is_map(Map) ->
    maps:from_list([{wrapped(Key), wrapped(Value)} || {Key, Value} <- maps:to_list(Map)]);
wrapped(Term) ->
    case is_bare(Term) of
        true ->
            Term;
        false ->
            <<?VERSION, Bytes/binary>> = encode(Term),
            {'$erlport.opaque', erlang, Bytes}
    end.
