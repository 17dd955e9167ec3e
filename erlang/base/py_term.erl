%%% @doc What the API's arguments become on the wire: names, keywords, references. Pure.
%%%
%%% Erlang terms need no conversion of their own: the external term format carries all of them, and Python's side
%%% decides, by the flags of a call, what they are there (see the table in `docs/values.md').
-module(py_term).

-export([keywords/1, is_keywords/1, is_name/1, is_module/1, module/1, references/1, has_pickle/1, reference_shape/0, shm_shape/0, is_ref/1, is_shm/1]).
-export_type([name/0, arg/0, target/0, keywords/0, ref/0, shm/0, opaque/0]).

-type name() :: atom() | unicode:unicode_binary().
%% A dotted Python name. A `-' in it is a `_' in Python.
-type arg() :: term().
%% What a call is given: any term, see `docs/values.md' for what Python makes of it.
-type target() :: name() | opaque() | ref() | term().
%% What a call is made of: a dotted path, or a callable from Python.
-type keywords() :: [{atom() | binary() | string(), term()}] | #{atom() | binary() | string() => term()}.
-type ref() :: {'$py.ref', Worker :: pid(), Incarnation :: pos_integer(), Id :: pos_integer()}.
%% An object that stayed in its Python.
-type shm() :: {'$py.shm', {
    node(),
    Name :: binary(),
    {Offset :: non_neg_integer(), Bytes :: non_neg_integer()},
    Form :: bytes | {py_haystack:dtype(), Shape :: tuple()}
}}.
%% An array, or bytes, in a file of that node's shared memory.
-type opaque() :: {'$erlport.opaque', python | erlang, binary()}.
%% An object that travels as a pickle.

%% @doc Keyword arguments as `[{Name, Value}]' with binary names, order kept; `error' for anything else.
-spec keywords(term()) -> {ok, [{binary(), term()}]} | error.
keywords(Map) when is_map(Map) -> keywords(maps:to_list(Map));
keywords(List) when is_list(List) -> keywords(List, []);
keywords(_) -> error.

keywords([{Key, Value} | Rest], Acc) ->
    case keyword(Key) of
        error -> error;
        Name -> keywords(Rest, [{Name, Value} | Acc])
    end;
keywords([], Acc) -> {ok, lists:reverse(Acc)};
keywords(_, _) -> error.

%% A binary or a string is taken as it stands: it may be a key of `dict', not an identifier.
keyword(Key) when is_atom(Key) ->
    binary:replace(atom_to_binary(Key, utf8), <<"-">>, <<"_">>, [global]);
keyword(Key) when is_binary(Key) ->
    Key;
keyword([_ | _] = Key) ->
    try unicode:characters_to_binary(Key) of
        Name when is_binary(Name) -> Name;
        _ -> error
    catch
        error:badarg -> error
    end;
keyword(_) ->
    error.

%% @doc Whether a last argument is meant as keywords: a map or a non-empty proplist with names for keys.
-spec is_keywords(term()) -> boolean().
is_keywords(Term) when map_size(Term) > 0; is_list(Term), Term =/= [] -> keywords(Term) =/= error;
is_keywords(_) -> false.

%% @doc Whether a term can be a Python name.
-spec is_name(term()) -> boolean().
is_name(Name) -> is_atom(Name) orelse is_binary(Name).

%% @doc Whether a term can be the name of a module to import: a name, or a string, and not an empty one.
-spec is_module(term()) -> boolean().
is_module(Name) ->
    case keyword(Name) of
        Text when is_binary(Text), Text =/= <<>> -> is_list(unicode:characters_to_list(Text));
        _ -> false
    end.

%% @doc The name of a module, as an option has it, in UTF-8. A `-' in it is a `_' in Python.
-spec module(name() | string()) -> binary().
module(Name) -> keyword(Name).

%% @doc What every reference is: a tuple of this size that begins with this atom.
-spec reference_shape() -> {atom(), pos_integer()}.
reference_shape() -> {'$py.ref', 4}.

%% @doc The same for shared memory.
-spec shm_shape() -> {atom(), pos_integer()}.
shm_shape() -> {'$py.shm', 2}.

-spec is_ref(term()) -> boolean().
is_ref({'$py.ref', Worker, Incarnation, Id}) ->
    is_pid(Worker) andalso is_integer(Incarnation) andalso is_integer(Id);
is_ref(_) ->
    false.

%% @doc Whether a term may stand for shared memory: it has the shape. Whether there is such memory, who opens it sees.
-spec is_shm(term()) -> boolean().
is_shm({'$py.shm', {Node, Name, {Offset, Bytes}, Form}}) ->
    is_atom(Node) andalso is_binary(Name) andalso is_size(Offset) andalso is_size(Bytes) andalso is_form(Form);
is_shm(_) ->
    false.

is_form({_Dtype, Shape}) -> is_tuple(Shape) andalso lists:all(fun is_size/1, tuple_to_list(Shape));
is_form(Form) -> Form =:= bytes.

is_size(Size) -> is_integer(Size) andalso Size >= 0.

%% @doc Whether an object of Python's that travels as a pickle is in a term, at any depth.
-spec has_pickle(term()) -> boolean().
has_pickle({'$erlport.opaque', python, Bytes}) when is_binary(Bytes) -> true;
has_pickle([Head | Tail]) -> has_pickle(Head) orelse has_pickle(Tail);
has_pickle(Tuple) when is_tuple(Tuple) -> has_pickle(tuple_to_list(Tuple));
has_pickle(Map) when is_map(Map) -> has_pickle(maps:to_list(Map));
has_pickle(_) -> false.

%% @doc All references in a term, at any depth.
-spec references(term()) -> [ref()].
references(Term) -> references(Term, []).

references({'$py.ref', _, _, _} = Tuple, Acc) ->
    case is_ref(Tuple) of
        true -> [Tuple | Acc];
        false -> Acc
    end;
references([Head | Tail], Acc) -> references(Tail, references(Head, Acc));
references(Tuple, Acc) when is_tuple(Tuple) -> references(tuple_to_list(Tuple), Acc);
references(Map, Acc) when is_map(Map) -> references(maps:to_list(Map), Acc);
references(_, Acc) -> Acc.
