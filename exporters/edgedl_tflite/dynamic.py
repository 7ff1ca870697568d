def convert_dynamic(p): raise NotImplementedError
